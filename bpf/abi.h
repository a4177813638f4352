/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one layout that kernel and user space share. shadowd/capture/abi.py mirrors it; tests/bpf/test_abi.py compiles
 * this header and compares sizes, offsets and values with the mirror. Change both and raise ABI_VERSION.
 *
 * Byte order: every integer is in host order, ports too; addresses are 16 bytes in network order, IPv4 as
 * ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
 */
#ifndef SHADOWD_ABI_H
#define SHADOWD_ABI_H

#include <linux/types.h>

#define ABI_VERSION 4

#define MAX_FILTERS 64     /* one bit of a u64 each */
#define MAX_PREFIXES 4096  /* CIDRs over all filters, a trie for each end */
#define MAX_CGROUPS 1024   /* cgroups over all filters */
#define MAX_INTERFACES 1024
#define MAX_FLOWS 65536    /* LRU: an evicted flow is only decided again */
#define MAX_OWN_FLOWS 65536
#define MAX_WORKERS 64     /* a ring each */
#define MAX_CGROUP_DEPTH 8 /* levels below the root that a selected cgroup may lie at */
#define MAX_TLS_LIBRARIES 256 /* places of the client random by library; what is attached beyond has the usual ones */

/* Payload is copied in chunks: reserve() wants a constant size, and eight steps of 32 KB pass every verifier tried. */
#define CHUNK_BYTES 32768
#define MAX_CHUNKS 8
#define MAX_SEGMENT_BYTES (CHUNK_BYTES * MAX_CHUNKS) /* larger super-packets are counted as `oversize` */

#define RECORD_SEGMENT 1 /* a piece of TCP payload, or a SYN, FIN, RST without one */
#define RECORD_TIMING 2  /* payload-free: a segment of one of our own replay connections; only the first 40 bytes */

#define RECORD_SECRET 3  /* of a TLS handshake: struct secret, and no payload */

#define DIRECTION_CLIENT 0 /* client -> server */
#define DIRECTION_SERVER 1 /* server -> client */

#define VIEW_INBOUND 0  /* socket hook, this host is the server */
#define VIEW_OUTBOUND 1 /* socket hook, this host is the client */
#define VIEW_TC 2       /* tc hook: on an interface */
#define VIEW_OWN 3      /* our own connection, as it left */

#define MAX_COUNTED 2 /* filters of one segment that are counted, the lowest bits: a flow has one, seldom two */

#define MARK_MPTCP 1 /* the SYN carries an MPTCP option (RFC 8684, kind 30) */

/* Where the segment's urgent pointer stands in `chunk_length`, which is at most CHUNK_BYTES: seldom needed, so it shall
 * cost nobody anything. */
#define URGENT_SHIFT 16

/* Who talks to whom, the same for both directions. */
struct flow_key {
    __u64 netns;       /* network namespace cookie (before Linux 6.15: the socket's cgroup id); 0 on tc */
    __u8 client[16];   /* network order */
    __u8 server[16];   /* network order */
    __u16 client_port; /* host order */
    __u16 server_port; /* host order */
    __u32 view;        /* VIEW_* */
};

/* Head of every ring entry; `chunk_length` bytes of payload follow. */
struct record {
    __u64 time;           /* bpf_ktime_get_ns(): CLOCK_MONOTONIC */
    __u64 filters;        /* bitmap of the filters that matched; RECORD_TIMING: the socket's cookie */
    __u32 seq;            /* of the segment, host order */
    __u32 ack;            /* host order */
    __u32 payload_length; /* of the whole segment */
    __u32 chunk_offset;   /* of this piece within the segment */
    __u32 chunk_length;   /* bytes behind this head; from URGENT_SHIFT on, with URG, one beyond the urgent byte */
    __u8 type;            /* RECORD_* */
    __u8 direction;       /* DIRECTION_* */
    __u8 tcp_flags;       /* of the segment: FIN stands behind its last chunk, SYN before the first */
    __u8 marks;           /* MARK_* */
    struct flow_key key;  /* not in RECORD_TIMING */
};

#define TIMING_BYTES 40

#define TLS_PLACES 6
#define TLS_RANDOM 32         /* bytes of a client random: RFC 8446 4.1.2 */
#define TLS_SECRET 48         /* of the longest secret: SHA-384's output, the master secret of TLS 1.2 */
#define TLS_LABEL 32          /* of the longest label, CLIENT_HANDSHAKE_TRAFFIC_SECRET, with its NUL */
#define TLS_DIRECT 0xffff     /* as `through`: from the argument itself */

/* What a TLS library would write to its key log. `type` lies where struct record and timing records have it. */
struct secret {
    __u64 time;   /* bpf_ktime_get_ns() */
    __u64 cgroup; /* the process's */
    __u32 pid;
    __u32 tid;
    __u32 library;       /* which attachment: its cookie; 0 where the kernel tells none */
    __u32 secret_length; /* 1 .. TLS_SECRET */
    __u32 label_length;  /* 1 .. TLS_LABEL - 1 */
    __u8 type;           /* RECORD_SECRET */
    __u8 exact;          /* 1: the first TLS_RANDOM bytes of `random` are the client random; 0: it may lie in there */
    __u8 pad[2];
    __u64 context; /* the function's first argument */
    char label[TLS_LABEL];
    __u8 secret[TLS_SECRET];
    __u8 random[TLS_PLACES * TLS_RANDOM]; /* what lies at the library's places; zeros where nothing could be read */
};

/* Where a library may keep the client random: `offset` bytes from the function's first argument, or, unless `through` is
 * TLS_DIRECT, from the pointer that lies `through` bytes from it. */
struct tls_place {
    __u16 through;
    __u16 offset;
};

struct tls_places {
    struct tls_place place[TLS_PLACES];
};

/* What a flow was decided to be; `generation` says by which rules. */
struct flow_state {
    __u64 filters; /* 0: not ours, cached too */
    __u32 generation;
    __u8 counted[MAX_COUNTED]; /* bits of the filters that are counted; MAX_FILTERS: none */
    __u8 worker;               /* whose ring its records go to */
    __u8 pad;
    __u32 layer[2]; /* tc, by direction, where the flow is taken from: ifindex * 2 + egress; 0: none yet. Several
                     * interfaces of one host show the same packet. */
    __u64 seen[2];  /* last time there, ns */
};

/* Filters by server port. On tc `inbound` alone is used, whichever side the port is on. */
struct port_filters {
    __u64 inbound;
    __u64 outbound;
};

/* Ports that some filter matches: what nearly every packet is turned away by. 8 KB each stay in the cache, the megabyte
 * of `ports` does not. */
struct port_bits {
    __u64 inbound[65536 / 64];   /* socket hook */
    __u64 outbound[65536 / 64];  /* socket hook */
    __u64 interface[65536 / 64]; /* tc hook, of whatever interface */
};

/* 1: a socket of our own has used this local port, or a packet of one has left from it. Nothing is taken back: such a
 * port is only looked at more closely. */
struct own_ports {
    __u8 used[65536];
};

struct interface_state {
    __u64 filters;
    __u32 ethernet; /* 1: packets start with an Ethernet header, 0: with IP (tunnels) */
    __u32 ifindex;  /* whose entry this is */
};

struct prefix_key {
    __u32 length; /* bits, 96 + n for IPv4 */
    __u8 address[16];
};

/* A connection of our own, keyed as VIEW_OWN by the tuple on the wire as it leaves (netns 0): never captured. */
struct own_state {
    __u64 closed; /* ns of our FIN or RST; 0 while open */
};

#define OWN_LINGER_NS 5000000000ULL /* a tuple we closed may be somebody else's after this; retransmissions are over */
#define LAYER_QUIET_NS 1000000000ULL /* a direction's interface that is silent this long may be replaced (failover) */

struct control {
    __u64 alive_until;    /* ns: dead-man switch, refreshed by the daemon; past it nothing is copied */
    __u64 active;         /* filters that may match at all */
    __u64 socket_filters; /* of those, the ones on the socket hook */
    __u64 sampled;        /* filters with a sampling rate below 1 */
    __u64 cgroup_bound;   /* filters that select by cgroup */
    __u64 plain;          /* filters of the socket hook that select by port alone: no flow need be decided for them */
    __u32 generation;
    __u32 own_mark;       /* SO_MARK bit of our own sockets */
    __u32 workers;        /* rings in use, 1 .. MAX_WORKERS */
    __u32 ethernet;       /* 1: every tc interface has Ethernet headers: ports first, then the interface */
};

/* Per-CPU counters, added to atomically: softirq and preemption interrupt the programs on one CPU. */
#define COUNT_SEGMENTS 0          /* matched TCP segments: payload, SYN, FIN or RST */
#define COUNT_BYTES 1             /* their payload, whether it was copied or not */
#define COUNT_RECORDS 2           /* ring entries written, timing apart */
#define COUNT_RING_FULL 3         /* chunks that found no room */
#define COUNT_RING_FULL_BYTES 4   /* payload lost by that */
#define COUNT_LOAD_FAILED 5       /* chunks whose payload could not be read */
#define COUNT_LOAD_FAILED_BYTES 6
#define COUNT_OVERSIZE 7          /* segments above MAX_SEGMENT_BYTES */
#define COUNT_OVERSIZE_BYTES 8    /* the part that was not copied */
#define COUNT_FRAGMENTS 9         /* IP fragments of TCP on a tc hook: lost, never guessed */
#define COUNT_FLOW_FAILED 10      /* flow entries that could not be written: decided anew each packet */
#define COUNT_OWN 11              /* segments recognised as our own */
#define COUNT_TIMING 12           /* timing records written */
#define COUNT_TIMING_LOST 13      /* timing records that found no room */
#define COUNT_DEAD 14             /* segments not looked at because the daemon no longer refreshes `alive_until` */
#define COUNT_OTHER_LAYER 15      /* segments seen again on another interface of the same host */
#define COUNT_SECRETS 16          /* secrets of TLS handshakes that were read */
#define COUNT_SECRETS_LOST 17     /* copies of them that found no room in their part of a ring: each worker's gets one */
#define COUNT_MAX 18

struct counters {
    __u64 value[COUNT_MAX];
};

/* Per-CPU as well, by filter: a loss has an owner, and what was missed can be told from what matched. */
#define FILTER_MATCHED 0       /* client segments with payload that matched, before they are copied */
#define FILTER_LOST 1          /* of those, the ones that did not reach the ring whole */
#define FILTER_DEAD 2          /* client segments with payload that were not looked at: daemon dead, or the guard's hold */
#define FILTER_OPENINGS_LOST 3 /* SYNs that found no room in the ring */
#define FILTER_COUNT_MAX 4

struct filter_counters {
    __u64 value[FILTER_COUNT_MAX];
};

struct sampling {
    __u64 below[MAX_FILTERS]; /* keep a flow whose 32-bit hash is below this; 1 << 32 keeps all */
};

_Static_assert(sizeof(struct flow_key) == 48, "flow_key");
_Static_assert(sizeof(struct record) == 88, "record");
_Static_assert(sizeof(struct secret) == 320, "secret");
_Static_assert(__builtin_offsetof(struct secret, type) == __builtin_offsetof(struct record, type), "secret.type");
_Static_assert(sizeof(struct tls_places) == 24, "tls_places");
_Static_assert(MAX_FILTERS == 64, "lowest_bit gives 64 for none");
_Static_assert(__builtin_offsetof(struct record, key) == TIMING_BYTES, "record.key");
_Static_assert(sizeof(struct flow_state) == 40, "flow_state");
_Static_assert(sizeof(struct port_filters) == 16, "port_filters");
_Static_assert(sizeof(struct interface_state) == 16, "interface_state");
_Static_assert(sizeof(struct prefix_key) == 20, "prefix_key");
_Static_assert(sizeof(struct control) == 64, "control");

#endif
