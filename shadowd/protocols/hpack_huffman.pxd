import cython

@cython.locals(state='long long', symbol='long long', byte='unsigned char')
cpdef bytes decode_untrusted(bytes data)
