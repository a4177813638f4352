from shadowd.protocols.http2_client cimport Http2Client
from shadowd.replay.connection cimport Connection
from shadowd.replay.leg cimport Leg

cdef class Http2Connection(Connection):
    cdef public Http2Client _client
    cdef public dict _legs
    cdef public long long _unmeasured
    cpdef _deliver(self, bytes data, long long now)
    cpdef send(self, Leg leg, long long now)
    cpdef _push(self, long long now)
    cpdef measure(self, Leg leg)
