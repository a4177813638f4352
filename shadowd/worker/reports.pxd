import cython

from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Exchange, Request, Response

cdef class ReportedSide(Side):
    cdef public bytes _authority
    cdef public bint _encrypted

@cython.locals(exchange=Exchange, production=Response)
cpdef list report_of(Trial trial, run)
cdef list _request(Request request)
cdef _response(Response response, same)
cdef _side(Side side, body)
@cython.locals(exchange=Exchange, trial=Trial, candidate=ReportedSide)
cpdef Trial trial_untrusted(list report, examiner)
@cython.locals(exchange=Exchange)
cdef Exchange _exchange(request, response, bytes body)
cdef Request _read_request(told)
@cython.locals(response=Response)
cdef Response _read_response(told, same)
@cython.locals(side=ReportedSide)
cdef ReportedSide _read_side(told, body)
cdef bint _in_bounds(numbers)
