from shadowd.exchange.exchange cimport Response

cpdef long long rank(Response response) except -1
