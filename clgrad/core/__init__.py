"""Settings, errors, dtypes and shape arithmetic: no OpenCL, no device, testable anywhere."""
