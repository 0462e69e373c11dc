"""The only room that imports pyopencl: drivers, devices, memory, programs, launches and copies."""
