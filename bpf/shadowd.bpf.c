// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The capture program. It only looks: every path of a socket program returns 1 (let the packet go on), every path of
 * a tc program returns -1 (TC_ACT_UNSPEC / TCX_NEXT: the next program decides).
 *
 *   packet -> TCP segment -> ours? -> a filter's port? -> daemon alive? -> flow decided? -> copy to the ring
 *
 * A flow is decided once for each generation of the rules, by its first packet and by every SYN; later packets cost
 * one lookup. Copies go straight into the ring by reserved size classes and not through a per-CPU scratch area:
 * cgroup programs run preemptible and are interrupted by softirq on the same CPU, which would overwrite the scratch
 * of the packet being copied (docs/decisions/0001-reserve-not-scratch.md).
 *
 * bcc dialect: maps and map calls stay in this file; RING_PAGES comes from the loader.
 */
#include "abi.h"
#include "parse.h"

#ifdef NETNS_COOKIE /* helper allowed for these program types since Linux 6.15; the loader tries */
#define NETNS(skb) bpf_get_netns_cookie(skb)
#else
#define NETNS(skb) bpf_skb_cgroup_id(skb)
#endif

#define RB_NO_WAKEUP 1
#define RB_FORCE_WAKEUP 2
#define STATE_LISTEN 10 /* BPF_TCP_LISTEN: SYN-ACKs leave through the listening socket */

BPF_ARRAY(control, struct control, 1);                                   /* switches, written by the daemon */
BPF_ARRAY(sleeping, u32, 1);                                             /* 1: the reader waits and wants one wake-up */
BPF_ARRAY(ports, struct port_filters, 65536);                            /* filters by server port */
BPF_ARRAY(sampling, struct sampling, 1);                                 /* by filter: keep flows whose hash is below */
BPF_LPM_TRIE(client_prefixes, struct prefix_key, u64, MAX_PREFIXES);     /* filters that accept a client there */
BPF_LPM_TRIE(server_prefixes, struct prefix_key, u64, MAX_PREFIXES);     /* filters that accept a server there */
BPF_HASH(cgroups, u64, u64, MAX_CGROUPS);                                /* filters by cgroup id */
BPF_HASH(interfaces, u32, struct interface_state, MAX_INTERFACES);       /* tc filters by ifindex */
BPF_TABLE("lru_hash", struct flow_key, struct flow_state, flows, MAX_FLOWS);        /* what was decided */
BPF_TABLE("lru_hash", struct flow_key, struct own_state, own_flows, MAX_OWN_FLOWS); /* our replay connections */
BPF_TABLE("lru_hash", struct flow_key, struct flow_layer, layers, MAX_FLOWS);       /* tc: one layer a flow */
BPF_TABLE("lru_hash", u64, u8, timed, MAX_OWN_FLOWS);                    /* own sockets, by cookie, whose times are wanted */
BPF_PERCPU_ARRAY(counters, struct counters, 1);                          /* COUNT_*: every loss has a name */
BPF_PERCPU_ARRAY(filter_counters, struct filter_counters, MAX_FILTERS);  /* FILTER_*: whose loss it is */
BPF_RINGBUF_OUTPUT(ring, RING_PAGES);                                    /* struct record + payload */

#define COUNT(n, index, amount) __sync_fetch_and_add(&(n)->value[index], amount)

/* The ring's own wake-ups cost production 0.8-2.9 us a packet; here the one that finds the flag pays, once. */
inline_always u64 wake_flags(void)
{
    u32 zero = 0, *flag = sleeping.lookup(&zero);
    if (flag && *flag) {
        *flag = 0;
        return RB_FORCE_WAKEUP;
    }
    return RB_NO_WAKEUP;
}

inline_always int emit_head(const struct record *head, struct counters *n)
{
    struct record *out = ring.ringbuf_reserve(sizeof(struct record));
    if (!out) {
        COUNT(n, COUNT_RING_FULL, 1);
        return 0;
    }
    *out = *head;
    ring.ringbuf_submit(out, wake_flags());
    COUNT(n, COUNT_RECORDS, 1);
    return 1;
}

/* Of a value that is not 0; clang's own way crashes bcc's compiler. */
inline_always u32 lowest_bit(u64 value)
{
    u32 bit = 0;

    if (!(value & 0xffffffff)) {
        bit += 32;
        value >>= 32;
    }
    if (!(value & 0xffff)) {
        bit += 16;
        value >>= 16;
    }
    if (!(value & 0xff)) {
        bit += 8;
        value >>= 8;
    }
    if (!(value & 0xf)) {
        bit += 4;
        value >>= 4;
    }
    if (!(value & 3)) {
        bit += 2;
        value >>= 2;
    }
    return bit + !(value & 1);
}

/* One more of `index` for each of the filters. */
inline_always void count_filters(u64 filters, u32 index)
{
#pragma clang loop unroll(disable)
    for (int i = 0; i < MAX_COUNTED; i++) {
        if (!filters)
            break;
        u32 bit = lowest_bit(filters);
        struct filter_counters *counted = filter_counters.lookup(&bit);
        if (counted)
            COUNT(counted, index & (FILTER_COUNT_MAX - 1), 1);
        filters &= filters - 1;
    }
}

#define CHUNK_COPIED 0
#define CHUNK_NO_ROOM 1
#define CHUNK_NOT_READ 2

/* One chunk of `length` bytes (1 .. `room`, a power of two and a constant here) at packet offset `at`. */
inline_always int emit_chunk(struct __sk_buff *skb, const struct record *head, u32 at, u32 offset, u64 length, u64 wake,
                             const u32 room)
{
    u8 *out = ring.ringbuf_reserve(sizeof(struct record) + room);
    if (!out)
        return CHUNK_NO_ROOM;
    struct record *r = (struct record *)out;
    *r = *head;
    r->chunk_offset = offset;
    r->chunk_length |= length; /* beside the urgent pointer */
    asm volatile("" : "+r"(length));
    length = ((length - 1) & (room - 1)) + 1; /* 1 .. room for every verifier */
    if (bpf_skb_load_bytes(skb, at, out + sizeof(struct record), length)) {
        ring.ringbuf_discard(out, RB_NO_WAKEUP);
        return CHUNK_NOT_READ;
    }
    ring.ringbuf_submit(out, wake);
    return CHUNK_COPIED;
}

/* True if all of it reached the ring. */
inline_always int emit_segment(struct __sk_buff *skb, struct record *head, const struct segment *s, struct counters *n)
{
    u32 length = s->length, done = 0, chunks = 0, at = s->payload;
    int result = CHUNK_COPIED;

    COUNT(n, COUNT_SEGMENTS, 1);
    if (!length)
        return emit_head(head, n);
    COUNT(n, COUNT_BYTES, length);
    u64 wake = wake_flags();
    if (length <= 16384) {
        if (length <= 128)
            result = emit_chunk(skb, head, at, 0, length, wake, 128);
        else if (length <= 256)
            result = emit_chunk(skb, head, at, 0, length, wake, 256);
        else if (length <= 512)
            result = emit_chunk(skb, head, at, 0, length, wake, 512);
        else if (length <= 1024)
            result = emit_chunk(skb, head, at, 0, length, wake, 1024);
        else if (length <= 2048)
            result = emit_chunk(skb, head, at, 0, length, wake, 2048);
        else if (length <= 4096)
            result = emit_chunk(skb, head, at, 0, length, wake, 4096);
        else
            result = emit_chunk(skb, head, at, 0, length, wake, 16384);
        if (result == CHUNK_COPIED) {
            COUNT(n, COUNT_RECORDS, 1);
            return 1;
        }
    } else {
#pragma clang loop unroll(disable)
        for (int i = 0; i < MAX_CHUNKS; i++) {
            u32 size = length - done;
            if (size > CHUNK_BYTES)
                size = CHUNK_BYTES;
            result = emit_chunk(skb, head, at + done, done, size, wake, CHUNK_BYTES);
            if (result != CHUNK_COPIED)
                break;
            chunks++;
            done += size;
            if (done >= length)
                break;
        }
        COUNT(n, COUNT_RECORDS, chunks);
        if (done >= length)
            return 1;
        length -= done;
    }
    if (result == CHUNK_NO_ROOM) {
        COUNT(n, COUNT_RING_FULL, 1);
        COUNT(n, COUNT_RING_FULL_BYTES, length);
    } else if (result == CHUNK_NOT_READ) {
        COUNT(n, COUNT_LOAD_FAILED, 1);
        COUNT(n, COUNT_LOAD_FAILED_BYTES, length);
    } else {
        COUNT(n, COUNT_OVERSIZE, 1);
        COUNT(n, COUNT_OVERSIZE_BYTES, length);
    }
    return 0;
}

/* A segment of our own replay connection, if asked for: its time, sequence and length; no payload. `direction` as in the record. */
inline_always void emit_timing(struct __sk_buff *skb, const struct segment *s, u8 direction, struct counters *n)
{
    COUNT(n, COUNT_OWN, 1);
    if (!s->length && !(s->flags & TCP_SYN))
        return;
    u64 cookie = bpf_get_socket_cookie(skb);
    if (!timed.lookup(&cookie))
        return;
    struct {
        u64 words[TIMING_BYTES / 8];
    } *out = ring.ringbuf_reserve(TIMING_BYTES);
    if (!out) {
        COUNT(n, COUNT_TIMING_LOST, 1);
        return;
    }
    u64 flags = wake_flags();
    out->words[0] = bpf_ktime_get_ns();
    out->words[1] = cookie;
    out->words[2] = (u64)s->ack << 32 | s->seq;
    out->words[3] = s->length;
    out->words[4] = (u64)RECORD_TIMING << 32 | (u64)direction << 40 | (u64)(s->flags & 0xff) << 48;
    ring.ringbuf_submit(out, flags);
    COUNT(n, COUNT_TIMING, 1);
}

/* Our own packet leaves: remember the tuple as it is on the wire (NAT is done), before anybody else can see it. */
inline_always void note_own(const struct segment *s)
{
    struct flow_key key = {.view = VIEW_OWN, .client_port = s->source_port, .server_port = s->destination_port};
    __builtin_memcpy(key.client, s->source, 16);
    __builtin_memcpy(key.server, s->destination, 16);
    u64 closed = s->flags & (TCP_FIN | TCP_RST) ? bpf_ktime_get_ns() : 0;
    struct own_state *known = own_flows.lookup(&key);
    if (!known) {
        struct own_state fresh = {.closed = closed};
        own_flows.update(&key, &fresh);
    } else if (closed || s->flags & TCP_SYN) {
        known->closed = closed;
    }
}

inline_always int is_own(struct flow_key *key, u64 now)
{
    u64 netns = key->netns;
    u32 view = key->view;
    key->netns = 0;
    key->view = VIEW_OWN;
    struct own_state *own = own_flows.lookup(key);
    key->netns = netns;
    key->view = view;
    return own && (!own->closed || now < own->closed + OWN_LINGER_NS);
}

/* tc: true when this packet is another interface's copy of one we take elsewhere. A silent layer may be replaced. */
inline_always int is_other_layer(const struct flow_key *key, u32 direction, u32 layer, u64 now)
{
    struct flow_layer *known = layers.lookup(key);
    direction &= 1;
    if (!known) {
        struct flow_layer fresh = {};
        layers.update(key, &fresh);
        known = layers.lookup(key);
        if (!known)
            return 0;
    }
    if (known->layer[direction] != layer) {
        if (known->layer[direction] && now < known->seen[direction] + LAYER_QUIET_NS)
            return 1;
        known->layer[direction] = layer;
    }
    known->seen[direction] = now;
    return 0;
}

/* Which of the candidates accept this flow. */
inline_always u64 decide(struct __sk_buff *skb, struct flow_key *k, u64 candidates, const struct control *c, u64 now)
{
    struct prefix_key prefix = {.length = 128};
    u64 *allowed;

    if (is_own(k, now))
        return 0;
    __builtin_memcpy(prefix.address, k->client, 16);
    allowed = client_prefixes.lookup(&prefix);
    candidates &= allowed ? *allowed : 0;
    __builtin_memcpy(prefix.address, k->server, 16);
    allowed = server_prefixes.lookup(&prefix);
    candidates &= allowed ? *allowed : 0;
    if (candidates & c->cgroup_bound) {
        u64 bound = 0;
#pragma clang loop unroll(disable)
        for (int level = 0; level < MAX_CGROUP_DEPTH; level++) {
            u64 id = bpf_skb_ancestor_cgroup_id(skb, level);
            if (!id)
                break;
            allowed = cgroups.lookup(&id);
            if (allowed)
                bound |= *allowed;
        }
        candidates &= bound | ~c->cgroup_bound;
    }
    if (candidates & c->sampled) {
        u32 zero = 0;
        struct sampling *rates = sampling.lookup(&zero);
        if (!rates)
            return 0;
        u64 hash = flow_hash(k), kept = 0;
#pragma unroll
        for (u32 bit = 0; bit < MAX_FILTERS; bit++) /* no branch: the borrow is the bit */
            kept |= ((hash - rates->below[bit]) >> 63) << bit;
        candidates &= kept | ~c->sampled;
    }
    return candidates;
}

/* A segment of a flow that some filter's port matches. `layer`: where a tc program sits, 0 on the socket hook. */
inline_always void capture(struct __sk_buff *skb, const struct segment *s, struct record *r, u64 candidates, u32 layer,
                           struct control *c, struct counters *n)
{
    if (!s->length && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST)))
        return; /* a pure ACK: the numbers travel with the data */
    u64 now = bpf_ktime_get_ns();
    int asking = s->length && r->direction == DIRECTION_CLIENT;
    if (now > c->alive_until) {
        COUNT(n, COUNT_DEAD, 1);
        if (asking)
            count_filters(candidates, FILTER_DEAD);
        return;
    }
    struct flow_state *state = flows.lookup(&r->key);
    u64 filters;
    int opening = s->flags & TCP_SYN && !(s->flags & TCP_ACK);
    if (state && state->generation == c->generation && !opening) {
        filters = state->filters;
    } else {
        if (!state && s->flags & TCP_SYN && s->flags & TCP_ACK)
            return; /* behind NAT a SYN-ACK shows another address: its flow was opened under the real one */
        struct flow_state fresh = {.generation = c->generation}; /* read first: a change meanwhile is decided again */
        fresh.filters = filters = decide(skb, &r->key, candidates, c, now);
        if (flows.update(&r->key, &fresh))
            COUNT(n, COUNT_FLOW_FAILED, 1);
    }
    if (!filters)
        return;
    if (layer && is_other_layer(&r->key, r->direction, layer, now)) {
        COUNT(n, COUNT_OTHER_LAYER, 1);
        return;
    }
    r->time = now;
    r->filters = filters;
    r->seq = s->seq;
    r->ack = s->ack;
    r->payload_length = s->length;
    r->type = RECORD_SEGMENT;
    r->tcp_flags = s->flags;
    if (s->flags & TCP_SYN && has_mptcp(skb, (struct segment *)s))
        r->marks = MARK_MPTCP;
    if (asking)
        count_filters(filters, FILTER_MATCHED);
    r->chunk_length = s->urgent; /* here, after the loop: before it the verifier's work would double */
    if (emit_segment(skb, r, s, n))
        return;
    if (asking)
        count_filters(filters, FILTER_LOST);
    else if (opening)
        count_filters(filters, FILTER_OPENINGS_LOST);
}

inline_always void client_is(struct record *r, const u8 *client, const u8 *server, u16 client_port, u16 server_port)
{
    __builtin_memcpy(r->key.client, client, 16);
    __builtin_memcpy(r->key.server, server, 16);
    r->key.client_port = client_port;
    r->key.server_port = server_port;
}

/* The socket's own idea of its addresses. Each field is read before any branch: else clang computes field addresses,
 * and the verifier forbids arithmetic on a socket. */
inline_always void socket_addresses(struct segment *s, struct bpf_sock *sk)
{
    u32 words[8], from4 = sk->src_ip4, to4 = sk->dst_ip4;
    words[0] = sk->src_ip6[0];
    words[1] = sk->src_ip6[1];
    words[2] = sk->src_ip6[2];
    words[3] = sk->src_ip6[3];
    words[4] = sk->dst_ip6[0];
    words[5] = sk->dst_ip6[1];
    words[6] = sk->dst_ip6[2];
    words[7] = sk->dst_ip6[3];
    s->destination_port = bpf_ntohs(sk->dst_port);
    asm volatile("" : "+r"(from4), "+r"(to4) : : "memory");
    if (s->version == 4) {
        __builtin_memcpy(s->source + 12, &from4, 4);
        __builtin_memcpy(s->destination + 12, &to4, 4);
    } else {
        __builtin_memcpy(s->source, words, 16);
        __builtin_memcpy(s->destination, words + 4, 16);
    }
}

inline_always int on_socket(struct __sk_buff *skb, const int egress)
{
    struct segment s = {};
    u32 zero = 0;

    if (parse_segment(skb, 0, &s) != PARSE_OK)
        return 1;
    struct control *c = control.lookup(&zero);
    struct counters *n = counters.lookup(&zero);
    if (!c || !n)
        return 1;
    struct bpf_sock *sk = skb->sk;
    if (!sk)
        return 1;
    sk = bpf_sk_fullsock(sk);
    if (!sk)
        return 1;
    if (egress && skb->mark & c->own_mark) {
        note_own(&s);
        emit_timing(skb, &s, DIRECTION_CLIENT, n);
        return 1;
    }
    if (!egress && sk->mark & c->own_mark) {
        emit_timing(skb, &s, DIRECTION_SERVER, n);
        return 1;
    }
    if (egress) {
        /* NAT on the way out has rewritten the header; the socket knows whom it talks to. Coming in, NAT is undone. */
        s.source_port = sk->src_port;
        if (sk->state != STATE_LISTEN)
            socket_addresses(&s, sk);
    }
    u32 local_port = egress ? s.source_port : s.destination_port;
    u32 remote_port = egress ? s.destination_port : s.source_port;
    u64 enabled = c->active & c->socket_filters;
    struct port_filters *filters = ports.lookup(&local_port);
    u64 candidates = filters ? filters->inbound & enabled : 0;
    struct record r = {};
    if (candidates) {
        r.key.view = VIEW_INBOUND;
        r.direction = egress ? DIRECTION_SERVER : DIRECTION_CLIENT;
    } else {
        filters = ports.lookup(&remote_port);
        candidates = filters ? filters->outbound & enabled : 0;
        if (!candidates)
            return 1;
        r.key.view = VIEW_OUTBOUND;
        r.direction = egress ? DIRECTION_CLIENT : DIRECTION_SERVER;
    }
    r.key.netns = NETNS(skb);
    if (r.direction == DIRECTION_CLIENT)
        client_is(&r, s.source, s.destination, s.source_port, s.destination_port);
    else
        client_is(&r, s.destination, s.source, s.destination_port, s.source_port);
    capture(skb, &s, &r, candidates, 0, c, n);
    return 1;
}

inline_always int on_interface(struct __sk_buff *skb, const int egress)
{
    struct segment s = {};
    u32 zero = 0, l3 = 0, ifindex = skb->ifindex;

    struct interface_state *here = interfaces.lookup(&ifindex);
    if (!here || (here->ethernet && skip_ethernet(skb, &l3) != PARSE_OK))
        return -1;
    struct control *c = control.lookup(&zero);
    struct counters *n = counters.lookup(&zero);
    if (!c || !n)
        return -1;
    int parsed = parse_segment(skb, l3, &s);
    if (parsed == PARSE_FRAGMENT)
        COUNT(n, COUNT_FRAGMENTS, 1);
    if (parsed != PARSE_OK)
        return -1;
    if (skb->mark & c->own_mark) {
        if (egress)
            note_own(&s);
        return -1;
    }
    u64 enabled = here->filters & c->active;
    u32 to = s.destination_port, from = s.source_port;
    struct port_filters *filters = ports.lookup(&to);
    u64 to_server = filters ? filters->inbound & enabled : 0;
    filters = ports.lookup(&from);
    u64 from_server = filters ? filters->inbound & enabled : 0;
    if (!to_server && !from_server)
        return -1;
    struct record r = {};
    r.key.view = VIEW_TC;
    client_is(&r, s.source, s.destination, s.source_port, s.destination_port);
    if (to_server && from_server) {
        /* both ports are a filter's: the SYN tells who is the client, else what was decided before */
        if (s.flags & TCP_SYN ? s.flags & TCP_ACK : !flows.lookup(&r.key))
            to_server = 0;
    }
    if (!to_server) {
        r.direction = DIRECTION_SERVER;
        client_is(&r, s.destination, s.source, s.destination_port, s.source_port);
    }
    capture(skb, &s, &r, to_server ? to_server : from_server, ifindex * 2 + egress, c, n);
    return -1;
}

int socket_ingress(struct __sk_buff *skb) { return on_socket(skb, 0); }
int socket_egress(struct __sk_buff *skb) { return on_socket(skb, 1); }
int tc_ingress(struct __sk_buff *skb) { return on_interface(skb, 0); }
int tc_egress(struct __sk_buff *skb) { return on_interface(skb, 1); }
