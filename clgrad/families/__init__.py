"""The host side of each kernel family: choose form and sizes once (a plan), then launch. Knows arrays and kernels,
no op by name and no derivative."""
