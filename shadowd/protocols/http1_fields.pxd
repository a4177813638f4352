import cython

from shadowd.exchange cimport octets

@cython.locals(at='Py_ssize_t', end='Py_ssize_t', size='Py_ssize_t', length='long long')
cpdef content_length(bytes lowered)

@cython.locals(at='Py_ssize_t')
cpdef bint persistent(bytes lowered, bytes version) except -1
