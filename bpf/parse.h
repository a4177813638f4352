/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a packet to a TCP segment. Headers are read with bpf_skb_load_bytes: it works for linear and paged data alike
 * and never changes the packet (bpf_skb_pull_data would reallocate production's buffer).
 */
#ifndef SHADOWD_PARSE_H
#define SHADOWD_PARSE_H

#include "abi.h"

#define inline_always static inline __attribute__((always_inline))

#define PROTOCOL_TCP 6
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define TCP_OPTION_MPTCP 30 /* RFC 8684 §3 */

#define MAX_EXTENSIONS 6 /* IPv6 extension headers looked through; RFC 8200 §4.1 recommends at most one of each kind */

#define PARSE_OK 0
#define PARSE_OTHER 1    /* not TCP, or not a packet we can read */
#define PARSE_FRAGMENT 2 /* a fragment of a TCP packet */

struct segment {
    __u8 source[16];
    __u8 destination[16];
    __u16 source_port; /* host order */
    __u16 destination_port;
    __u32 version; /* 4 or 6 */
    __u32 seq;
    __u32 ack;
    __u32 flags;
    __u32 tcp;     /* offset of the TCP header */
    __u32 header;  /* its length */
    __u32 payload; /* offset of the payload */
    __u32 length;  /* of the payload */
    __u32 urgent;  /* with URG: the urgent pointer, at least 1, shifted by URGENT_SHIFT; else 0 */
};

inline_always __u16 be16(const __u8 *p) { return (__u16)p[0] << 8 | p[1]; }
inline_always __u32 be32(const __u8 *p) { return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3]; }

/* Where the IP header starts on an Ethernet device: behind up to two VLAN tags that are still in the data. */
inline_always int skip_ethernet(struct __sk_buff *skb, __u32 *l3)
{
    __u8 type[2];
    __u32 at = 12;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        if (bpf_skb_load_bytes(skb, at, type, 2))
            return PARSE_OTHER;
        __u16 proto = be16(type);
        if (proto == 0x0800 || proto == 0x86dd) {
            *l3 = at + 2;
            return PARSE_OK;
        }
        if (proto != 0x8100 && proto != 0x88a8) /* 802.1Q, 802.1ad */
            return PARSE_OTHER;
        at += 4;
    }
    return PARSE_OTHER;
}

inline_always int parse_segment(struct __sk_buff *skb, __u32 l3, struct segment *s)
{
    __u8 head[40], tcp[20];
    __u32 l4, total;

    if (bpf_skb_load_bytes(skb, l3, head, 20))
        return PARSE_OTHER;
    if (head[0] >> 4 == 4) {
        if (head[9] != PROTOCOL_TCP)
            return PARSE_OTHER;
        if (be16(head + 6) & 0x3fff) /* more fragments, or an offset */
            return PARSE_FRAGMENT;
        s->version = 4;
        __builtin_memset(s->source, 0, 10);
        __builtin_memset(s->destination, 0, 10);
        s->source[10] = s->source[11] = s->destination[10] = s->destination[11] = 0xff;
        __builtin_memcpy(s->source + 12, head + 12, 4);
        __builtin_memcpy(s->destination + 12, head + 16, 4);
        l4 = l3 + ((head[0] & 15) << 2);
        total = be16(head + 2);
    } else if (head[0] >> 4 == 6) {
        if (bpf_skb_load_bytes(skb, l3 + 20, head + 20, 20))
            return PARSE_OTHER;
        s->version = 6;
        __builtin_memcpy(s->source, head + 8, 16);
        __builtin_memcpy(s->destination, head + 24, 16);
        __u8 next = head[6], ext[2];
        l4 = l3 + 40;
        total = be16(head + 4);
        if (total)
            total += 40; /* 0: a jumbogram (BIG TCP) */
        if (next != PROTOCOL_TCP) {
#pragma unroll
            for (int i = 0; i < MAX_EXTENSIONS; i++) {
                if (next != 0 && next != 43 && next != 60 && next != 51 && next != 44)
                    break; /* hop-by-hop, routing, destination options, authentication, fragment */
                if (bpf_skb_load_bytes(skb, l4, ext, 2))
                    return PARSE_OTHER;
                if (next == 44)
                    return ext[0] == PROTOCOL_TCP ? PARSE_FRAGMENT : PARSE_OTHER;
                l4 += next == 51 ? (ext[1] + 2) << 2 : (ext[1] + 1) << 3;
                next = ext[0];
            }
            if (next != PROTOCOL_TCP)
                return PARSE_OTHER;
        }
    } else {
        return PARSE_OTHER;
    }
    if (bpf_skb_load_bytes(skb, l4, tcp, 20))
        return PARSE_OTHER;
    s->source_port = be16(tcp);
    s->destination_port = be16(tcp + 2);
    s->seq = be32(tcp + 4);
    s->ack = be32(tcp + 8);
    s->flags = tcp[13];
    /* Linux takes 0 for 1 (net.ipv4.tcp_stdurg = 0). No branch: the verifier would follow both ways from here. */
    __u32 pointer = be16(tcp + 18);
    pointer += (pointer - 1) >> 31;
    __u32 urgent = -(tcp[13] >> 5 & 1);
    asm volatile("" : "+r"(urgent));
    s->urgent = pointer << URGENT_SHIFT & urgent;
    s->tcp = l4;
    s->header = (tcp[12] >> 4) << 2;
    s->payload = l4 + s->header;
    /* Ethernet pads short frames, so the IP length rules; on a super-packet that field is junk above 64 KB. */
    __u32 end = skb->len;
    if (!skb->gso_segs && total && l3 + total < end)
        end = l3 + total;
    s->length = end > s->payload ? end - s->payload : 0;
    return PARSE_OK;
}

/* Does the TCP header of this SYN carry an MPTCP option? Bounded walk over at most 40 bytes of options. */
inline_always int has_mptcp(struct __sk_buff *skb, struct segment *s)
{
    __u32 at = s->tcp + 20, end = s->tcp + s->header;
    __u8 option[2];
#pragma clang loop unroll(disable)
    for (int i = 0; i < 12; i++) {
        if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, 2) || option[0] == 0)
            return 0;
        if (option[0] == TCP_OPTION_MPTCP)
            return 1;
        if (option[0] == 1)
            at += 1;
        else if (option[1] < 2)
            return 0;
        else
            at += option[1];
    }
    return 0;
}

/* Spreads a connection over 32 bits, the same for both directions (splitmix64's finaliser over the tuple's words). */
inline_always __u32 flow_hash(const struct flow_key *k)
{
    const __u64 *c = (const __u64 *)k->client, *v = (const __u64 *)k->server;
    __u64 h = c[0] ^ (c[1] * 0x9e3779b97f4a7c15ULL) ^ (v[0] << 1) ^ (v[1] * 0xc2b2ae3d27d4eb4fULL);
    h ^= ((__u64)k->client_port << 32 | k->server_port) * 0x165667b19e3779f9ULL;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
    return h >> 32;
}

#endif
