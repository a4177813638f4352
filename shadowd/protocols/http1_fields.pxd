import cython

@cython.locals(at='Py_ssize_t')
cpdef bint persistent(bytes lowered, bytes version) except -1
