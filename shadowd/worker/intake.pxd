from shadowd.capture.ring cimport RingSink
from shadowd.replay.engine cimport Engine
from shadowd.stream.flow cimport Flow
from shadowd.stream.table cimport FlowTable

cdef class Intake(RingSink):
    cdef public Engine engine
    cdef public object on_secret
    cdef public FlowTable table
    cdef public long long taken
    cpdef segment(self, bytes key, long long direction, long long seq, long long ack, long long flags, bytes payload, long long time, unsigned long long tag)
    cpdef timing(self, unsigned long long cookie, long long direction, long long seq, long long length, long long flags, long long time)
    cpdef urgent(self, bytes key, long long direction, long long seq)
    cpdef marked(self, bytes key, long long direction, long long marks)
    cpdef secret(self, bytes record)
