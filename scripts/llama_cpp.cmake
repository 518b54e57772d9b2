# llama-cpp-python forces llama.cpp's `common` library on; nothing in its wheel uses it, and it is
# over 40 % of the files to compile. A plain variable wins over the forced cache entry.
set(LLAMA_BUILD_COMMON OFF)
