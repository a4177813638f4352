// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The capture program. It only looks: every path of a socket program returns 1 (let the packet go on), every path of
 * a tc program returns -1 (TC_ACT_UNSPEC / TCX_NEXT: the next program decides).
 *
 *   packet -> a filter's port? -> TCP segment -> ours? -> daemon alive? -> flow decided? -> copy to its worker's ring
 *
 * Nearly every packet of a host ends at the first question, so it is asked first, and of what lies at hand: the socket,
 * or the packet's first bytes, and a bitmap. A flow is decided once for each generation of the rules, by its first
 * packet and by every SYN; later packets cost one lookup, or none if only ports select.
 *
 * Copies go straight into the ring by reserved size classes and not through a per-CPU scratch area: cgroup programs run
 * preemptible and are interrupted by softirq on the same CPU, which would overwrite the scratch of the packet being
 * copied (docs/decisions/0001-reserve-not-scratch.md).
 *
 * bcc dialect: maps and map methods stay in this file; RING_PAGES comes from the loader. Entries of `rings` are no maps
 * of bcc's, so they are written with the helpers themselves (emit.h).
 */
#include "abi.h"
#include "parse.h"
#include "bits.h"
#include "emit.h"
#ifdef TLS_PROBES
#include "tls.h"
#endif

#ifdef NETNS_COOKIE /* helper allowed for these program types since Linux 6.15; the loader tries */
#define NETNS(skb) bpf_get_netns_cookie(skb)
#else
#define NETNS(skb) bpf_skb_cgroup_id(skb)
#endif

#define STATE_LISTEN 10 /* BPF_TCP_LISTEN: SYN-ACKs leave through the listening socket */

BPF_ARRAY(control, struct control, 1);                                   /* switches, written by the daemon */
BPF_ARRAY(port_bits, struct port_bits, 1);                               /* some filter's port? */
BPF_ARRAY(sleeping, u32, MAX_WORKERS);                                   /* by worker, 1: wants one wake-up */
BPF_ARRAY(ports, struct port_filters, 65536);                            /* filters by server port */
BPF_ARRAY(sampling, struct sampling, 1);                                 /* by filter: keep flows whose hash is below */
BPF_LPM_TRIE(client_prefixes, struct prefix_key, u64, MAX_PREFIXES);     /* filters that accept a client there */
BPF_LPM_TRIE(server_prefixes, struct prefix_key, u64, MAX_PREFIXES);     /* filters that accept a server there */
BPF_HASH(cgroups, u64, u64, MAX_CGROUPS);                                /* filters by cgroup id */
BPF_HASH(interfaces, u32, struct interface_state, MAX_INTERFACES);       /* tc filters by ifindex */
BPF_ARRAY(near_interfaces, struct interface_state, MAX_INTERFACES);      /* the same, by its lowest bits */
BPF_TABLE("lru_hash", struct flow_key, struct flow_state, flows, MAX_FLOWS);        /* what was decided */
BPF_TABLE("lru_hash", struct flow_key, struct own_state, own_flows, MAX_OWN_FLOWS); /* our replay connections */
BPF_ARRAY(own_ports, struct own_ports, 1);                               /* local ports that may be theirs */
BPF_TABLE("lru_hash", u64, u8, timed, MAX_OWN_FLOWS);                    /* cookie -> worker that wants its times */
BPF_PERCPU_ARRAY(counters, struct counters, 1);                          /* COUNT_*: every loss has a name */
BPF_PERCPU_ARRAY(filter_counters, struct filter_counters, MAX_FILTERS);  /* FILTER_*: whose loss it is */
BPF_RINGBUF_OUTPUT(ring, RING_PAGES);                                    /* worker 0's: struct record + payload */
BPF_ARRAY_OF_MAPS(rings, "ring", MAX_WORKERS);                           /* all of them, put in by the parent */

#ifdef TLS_PROBES
BPF_HASH(tls_scope, u64, u64, MAX_CGROUPS);                              /* cgroups whose secrets are wanted */
BPF_ARRAY(tls_places, struct tls_places, MAX_TLS_LIBRARIES);             /* by library: where the client random lies */
#endif

/* The ring's own wake-ups cost production 0.8-2.9 us a packet; here the one that finds the flag pays, once. */
inline_always u64 wake_flags(u32 worker)
{
    u32 *flag = sleeping.lookup(&worker);
    if (flag && *flag) {
        *flag = 0;
        return RB_FORCE_WAKEUP;
    }
    return RB_NO_WAKEUP;
}

/* One more of `index` for each of the filters. Where there is no second one its number is beyond the map. */
inline_always void count_filters(const u8 *counted, u32 index)
{
#pragma unroll
    for (int i = 0; i < MAX_COUNTED; i++) {
        u32 bit = counted[i];
        struct filter_counters *counter = filter_counters.lookup(&bit);
        if (counter)
            COUNT(counter, index & (FILTER_COUNT_MAX - 1), 1);
    }
}

/* A segment of our own replay connection, if asked for: no payload. `direction` as in the record. */
inline_always void emit_timing(struct __sk_buff *skb, const struct segment *s, u8 direction, struct counters *n)
{
    COUNT(n, COUNT_OWN, 1);
    if (!s->length && !(s->flags & TCP_SYN))
        return;
    u64 cookie = bpf_get_socket_cookie(skb);
    u8 *owner = timed.lookup(&cookie);
    if (!owner)
        return;
    u32 worker = *owner;
    void *to = rings.lookup(&worker);
    if (to)
        emit_time(to, s, cookie, direction, wake_flags(worker), n);
    else
        COUNT(n, COUNT_TIMING_LOST, 1);
}

/* Our own packet leaves: remember the tuple as it is on the wire (NAT is done), before anybody else can see it. */
inline_always void note_own(const struct segment *s, struct own_ports *owned, u32 local_port)
{
    owned->used[port_index(local_port)] = 1;
    owned->used[port_index(s->source_port)] = 1;
    struct flow_key key = {.view = VIEW_OWN, .client_port = s->source_port, .server_port = s->destination_port};
    *(struct address *)key.client = s->source;
    *(struct address *)key.server = s->destination;
    u64 closed = s->flags & (TCP_FIN | TCP_RST) ? bpf_ktime_get_ns() : 0;
    struct own_state *known = own_flows.lookup(&key);
    if (!known) {
        struct own_state fresh = {.closed = closed};
        own_flows.update(&key, &fresh);
    } else if (closed || s->flags & TCP_SYN) {
        known->closed = closed;
    }
}

inline_always int is_own(struct flow_key *key, const struct own_ports *owned, u64 now)
{
    if (!owned->used[port_index(key->client_port)])
        return 0;
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
inline_always int is_other_layer(struct flow_state *state, u32 direction, u32 layer, u64 now)
{
    direction &= 1;
    if (state->layer[direction] != layer) {
        if (state->layer[direction] && now < state->seen[direction] + LAYER_QUIET_NS)
            return 1;
        state->layer[direction] = layer;
    }
    state->seen[direction] = now;
    return 0;
}

/* Which of the candidates accept this flow. */
inline_always u64 decide(struct __sk_buff *skb, struct flow_key *k, u64 candidates, const struct control *c,
                         const struct own_ports *owned, u64 now)
{
    struct prefix_key prefix = {.length = 128};
    u64 *allowed;

    if (is_own(k, owned, now))
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

/* Read anew each time: a variable would be two states for all that follows. */
#define ASKS(s, r) ((s)->length && (r)->direction == DIRECTION_CLIENT)

/* Filters whose port a flow of the socket hook matches. */
inline_always u64 socket_candidates(const struct flow_key *k, const struct control *c)
{
    u32 port = k->server_port;
    struct port_filters *filters = ports.lookup(&port);

    if (!filters)
        return 0;
    return (k->view == VIEW_INBOUND ? filters->inbound : filters->outbound) & c->active & c->socket_filters;
}

/* A segment of a flow that some filter's port matches. `layer`: where a tc program sits; 0 on the socket hook. */
inline_always void capture(struct __sk_buff *skb, const struct segment *s, struct record *r, u64 candidates, u32 layer,
                           struct control *c, struct own_ports *owned, struct counters *n)
{
    u64 now = bpf_ktime_get_ns();
    struct flow_state known = {}, *state = 0;
    if (now > c->alive_until) {
        COUNT(n, COUNT_DEAD, 1);
        note_counted(candidates, known.counted);
        if (ASKS(s, r))
            count_filters(known.counted, FILTER_DEAD);
        return;
    }
    int opening = s->flags & TCP_SYN && !(s->flags & TCP_ACK);
    if (!layer && !(s->flags & TCP_SYN) && !(candidates & ~c->plain) && !owned->used[port_index(r->key.client_port)]) {
        known.filters = candidates; /* nothing to decide; where flows are many, to look one up is slow */
        note_counted(candidates, known.counted);
        known.worker = worker_of(&r->key, c->workers);
    } else {
        state = flows.lookup(&r->key);
        if (state && state->generation == c->generation && !opening) {
            known.filters = state->filters;
            known.worker = state->worker;
            __builtin_memcpy(known.counted, state->counted, MAX_COUNTED);
        } else {
            if (state)
                known = *state;
            if (!state && s->flags & TCP_SYN && s->flags & TCP_ACK)
                return; /* behind NAT a SYN-ACK shows another address: its flow was opened under the real one */
            known.generation = c->generation; /* read first: a change meanwhile is decided again */
            known.filters = decide(skb, &r->key, candidates, c, owned, now);
            note_counted(known.filters, known.counted);
            known.worker = worker_of(&r->key, c->workers);
            if (flows.update(&r->key, &known))
                COUNT(n, COUNT_FLOW_FAILED, 1);
            if (layer)
                state = flows.lookup(&r->key);
        }
    }
    if (!known.filters)
        return;
    if (layer && state && is_other_layer(state, r->direction, layer, now)) {
        COUNT(n, COUNT_OTHER_LAYER, 1);
        return;
    }
    u32 worker = known.worker;
    r->time = now;
    r->filters = known.filters;
    r->seq = s->seq;
    r->ack = s->ack;
    r->payload_length = s->length;
    r->type = RECORD_SEGMENT;
    r->tcp_flags = s->flags;
    if (s->flags & TCP_SYN && has_mptcp(skb, (struct segment *)s))
        r->marks = MARK_MPTCP;
    if (ASKS(s, r))
        count_filters(known.counted, FILTER_MATCHED);
    r->chunk_length = s->urgent; /* here, after the loop: before it the verifier's work would double */
    void *to = rings.lookup(&worker);
    if (to && emit_segment(to, skb, r, s, wake_flags(worker), n))
        return;
    if (ASKS(s, r))
        count_filters(known.counted, FILTER_LOST);
    else if (opening)
        count_filters(known.counted, FILTER_OPENINGS_LOST);
}

inline_always void client_is(struct record *r, struct address client, struct address server, u16 client_port,
                             u16 server_port)
{
    *(struct address *)r->key.client = client;
    *(struct address *)r->key.server = server;
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
        s->source = mapped_address(from4);
        s->destination = mapped_address(to4);
    } else {
        s->source = ipv6_address(words);
        s->destination = ipv6_address(words + 4);
    }
}

inline_always int on_socket(struct __sk_buff *skb, const int egress)
{
    u32 zero = 0;
    struct bpf_sock *sk = skb->sk;
    struct control *c = control.lookup(&zero);
    struct port_bits *bits = port_bits.lookup(&zero);
    struct own_ports *owned = own_ports.lookup(&zero);

    if (!sk || !c || !bits || !owned)
        return 1;
    /* The socket knows its ports; the packet is not touched. A listening socket knows one, and may be given packets for
     * another (TPROXY); one that is being closed has none any more. */
    u32 local_port = sk->src_port, remote_port = bpf_ntohs(sk->dst_port), state = sk->state, own = 0;
    if (egress) {
        own = skb->mark & c->own_mark;
    } else if (owned->used[port_index(local_port)]) { /* else no helper is asked: it costs more than all the rest */
        struct bpf_sock *full = bpf_sk_fullsock(sk);
        own = full ? full->mark & c->own_mark : 0;
    }
    /* One branch: each would be another state for all that follows. */
    u64 wanted = has_port(bits->inbound, local_port) | has_port(bits->outbound, remote_port) | own |
                 is_zero(local_port) | is_zero(state ^ STATE_LISTEN);
    asm volatile("" : "+r"(wanted));
    if (!wanted)
        return 1;
    struct segment s = {};
    if (parse_segment(skb, 0, &s, 0) != PARSE_OK)
        return 1;
    struct counters *n = counters.lookup(&zero);
    if (!n)
        return 1;
    if (own) {
        if (egress)
            note_own(&s, owned, local_port);
        emit_timing(skb, &s, egress ? DIRECTION_CLIENT : DIRECTION_SERVER, n);
        return 1;
    }
    if (is_pure_ack(&s))
        return 1;
    if (egress) {
        /* NAT on the way out has rewritten the header; the socket knows whom it talks to. Coming in, NAT is undone. */
        s.source_port = local_port;
        if (state != STATE_LISTEN)
            socket_addresses(&s, sk);
    }
    local_port = egress ? s.source_port : s.destination_port;
    remote_port = egress ? s.destination_port : s.source_port;
    struct record r = {};
    if (has_port(bits->inbound, local_port)) {
        r.key.view = VIEW_INBOUND;
        r.direction = egress ? DIRECTION_SERVER : DIRECTION_CLIENT;
    } else if (has_port(bits->outbound, remote_port)) {
        r.key.view = VIEW_OUTBOUND;
        r.direction = egress ? DIRECTION_CLIENT : DIRECTION_SERVER;
    } else {
        return 1;
    }
    r.key.netns = NETNS(skb);
    if (r.direction == DIRECTION_CLIENT)
        client_is(&r, s.source, s.destination, s.source_port, s.destination_port);
    else
        client_is(&r, s.destination, s.source, s.destination_port, s.source_port);
    capture(skb, &s, &r, socket_candidates(&r.key, c), 0, c, owned, n);
    return 1;
}

inline_always int on_interface(struct __sk_buff *skb, const int egress)
{
    u32 zero = 0, l3 = 0, ifindex = skb->ifindex;
    struct control *c = control.lookup(&zero);
    struct port_bits *bits = port_bits.lookup(&zero);
    struct own_ports *owned = own_ports.lookup(&zero);

    if (!c || !bits || !owned)
        return -1;
    u32 own = skb->mark & c->own_mark;
    if (own ? !egress : c->ethernet && is_elsewhere(skb, bits))
        return -1;
    u32 slot = ifindex & (MAX_INTERFACES - 1), ethernet;
    u64 enabled;
    struct interface_state *here = near_interfaces.lookup(&slot);
    if (here && here->ifindex == ifindex) {
        enabled = here->filters;
        ethernet = here->ethernet;
    } else {
        here = interfaces.lookup(&ifindex);
        if (!here)
            return -1;
        enabled = here->filters;
        ethernet = here->ethernet;
    }
    enabled &= c->active;
    if (ethernet && skip_ethernet(skb, &l3) != PARSE_OK)
        return -1;
    struct counters *n = counters.lookup(&zero);
    if (!n)
        return -1;
    struct segment s = {};
    int parsed = parse_segment(skb, l3, &s, 1);
    if (parsed == PARSE_FRAGMENT)
        COUNT(n, COUNT_FRAGMENTS, 1);
    if (parsed != PARSE_OK)
        return -1;
    if (own) {
        note_own(&s, owned, s.source_port);
        return -1;
    }
    if (is_pure_ack(&s))
        return -1;
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
    capture(skb, &s, &r, to_server ? to_server : from_server, ifindex * 2 + egress, c, owned, n);
    return -1;
}

int socket_ingress(struct __sk_buff *skb) { return on_socket(skb, 0); }
int socket_egress(struct __sk_buff *skb) { return on_socket(skb, 1); }
int tc_ingress(struct __sk_buff *skb) { return on_interface(skb, 0); }
int tc_egress(struct __sk_buff *skb) { return on_interface(skb, 1); }

#ifdef TLS_PROBES
/*
 * Secrets of TLS handshakes. These two are compiled where TLS may be read, and not loaded with the others: the attacher
 * does that when a filter asks (shadowd/capture/tlsattach.py). Production hits them some five times a handshake, and
 * never after it.
 */

/* Whether somebody wants the secrets of this process. The library's probe is hit by every process of the host that has
 * it, so this comes before anything of the process is read. A cgroup counts with all below it; the root is everybody's,
 * so it stands for those alone that lie in it directly. */
inline_always int in_scope(u64 cgroup)
{
    if (tls_scope.lookup(&cgroup))
        return 1;
#pragma clang loop unroll(disable)
    for (int level = 1; level < MAX_CGROUP_DEPTH; level++) {
        u64 id = bpf_get_current_ancestor_cgroup_id(level);
        if (!id)
            return 0;
        if (tls_scope.lookup(&id))
            return 1;
    }
    return 0;
}

/* Half of each ring is for packets alone: a process in scope that calls the function in a loop costs others their
 * secrets, and nobody a packet. The other half of 16 MB is 5,000 handshakes whose reader stands still. */
#define SECRETS_SHARE 2

/* Into every ring: which worker reads the connection is told by its addresses, which this process's registers do not
 * have; and in its own ring a secret stands before the first record that needs it. */
inline_always void tell(struct secret *s, const struct control *c, struct counters *n)
{
    COUNT(n, COUNT_SECRETS, 1);
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < MAX_WORKERS; i++) {
        u32 worker = i;
        if (i >= c->workers)
            break;
        void *to = rings.lookup(&worker);
        if (!to || bpf_ringbuf_query(to, RB_AVAIL_DATA) > bpf_ringbuf_query(to, RB_RING_SIZE) / SECRETS_SHARE ||
            bpf_ringbuf_output(to, s, sizeof(*s), wake_flags(worker)))
            COUNT(n, COUNT_SECRETS_LOST, 1);
    }
}

inline_always int on_secret(struct registers *registers, const int go)
{
    u32 zero = 0;
    u64 now = bpf_ktime_get_ns();
    struct control *c = control.lookup(&zero);
    struct counters *n = counters.lookup(&zero);

    if (!c || !n || now > c->alive_until)
        return 0;
    u64 cgroup = bpf_get_current_cgroup_id();
    if (!in_scope(cgroup))
        return 0;
    u64 id = bpf_get_current_pid_tgid();
    u32 library = bpf_get_attach_cookie(registers);
    struct secret s = {.time = now, .cgroup = cgroup, .pid = id >> 32, .tid = id, .library = library,
                       .type = RECORD_SECRET};
    if (go) {
        if (!read_go(&s, registers))
            return 0;
    } else {
        struct tls_places *places = tls_places.lookup(&library);
        if (!places || !read_c(&s, registers, places))
            return 0;
    }
    tell(&s, c, n);
    return 0;
}

int tls_secret(struct registers *registers) { return on_secret(registers, 0); }
int tls_secret_go(struct registers *registers) { return on_secret(registers, 1); }
#endif
