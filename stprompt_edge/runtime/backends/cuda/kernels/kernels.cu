// What is compiled for a device, into one cubin.
#include "preprocess.cu"
#include "adapter.cu"
