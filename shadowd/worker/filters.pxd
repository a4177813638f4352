from shadowd.ledger.ledger cimport FilterAccount
from shadowd.policy.policy cimport Policy

cdef class Filter:
    cdef public FilterAccount account
    cdef public bint allow_writes
    cdef public dict examiners
    cdef public long long flows
    cdef public bint following
    cdef public bint forward_proxy_header
    cdef public object keylog
    cdef public object name
    cdef public long long older
    cdef public long long older_http2
    cdef public object order
    cdef public Policy policy
    cdef public bint probed
    cdef public dict pools
    cdef public object protocol
    cdef public list targets
