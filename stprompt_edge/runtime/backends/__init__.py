"""One file per engine; `opening` picks one. Light: a machine without packages builds the kernels that lie below."""
