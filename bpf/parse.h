/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a packet to a TCP segment. Headers are read where they lie if they lie in the packet's linear part, as they
 * nearly always do, else with bpf_skb_load_bytes: it works for linear and paged data alike and never changes the packet
 * (bpf_skb_pull_data would reallocate production's buffer).
 */
#ifndef SHADOWD_PARSE_H
#define SHADOWD_PARSE_H

#include "abi.h"

#define inline_always static inline __attribute__((always_inline))

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMP6 58
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define TCP_OPTION_MPTCP 30 /* RFC 8684 §3 */

#define MAX_EXTENSIONS 6 /* IPv6 extension headers looked through; RFC 8200 §4.1 recommends at most one of each kind */

#define PARSE_OK 0
#define PARSE_OTHER 1    /* not TCP, or not a packet we can read */
#define PARSE_FRAGMENT 2 /* a fragment of a TCP packet */

/* In network order. Two words: what is written in pieces and read whole waits in the CPU's store buffer. */
struct address {
    __u64 word[2];
};

struct segment {
    struct address source;
    struct address destination;
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

/* Two words of a packet as one. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PAIR(first, second) ((__u64)(second) << 32 | (first))
#else
#define PAIR(first, second) ((__u64)(first) << 32 | (second))
#endif

/* ::ffff:a.b.c.d */
inline_always struct address mapped_address(__u32 ipv4)
{
    struct address address = {.word = {0, PAIR(bpf_htonl(0xffff), ipv4)}};
    return address;
}

inline_always struct address ipv6_address(const __u32 *words)
{
    struct address address = {.word = {PAIR(words[0], words[1]), PAIR(words[2], words[3])}};
    return address;
}

inline_always __u16 be16(const __u8 *p) { return (__u16)p[0] << 8 | p[1]; }

/* Twenty bytes of headers. As words: clang copies bytes one by one, and every machine we know reads unaligned words. */
struct twenty {
    __u32 word[5];
};

inline_always int read_twenty(struct __sk_buff *skb, __u32 at, struct twenty *to, const int paged)
{
    __u8 *from = (__u8 *)(long)skb->data + at;

    if (from + sizeof(*to) > (__u8 *)(long)skb->data_end)
        return paged ? bpf_skb_load_bytes(skb, at, to, sizeof(*to)) : -1;
    *to = *(struct twenty *)from;
    return 0;
}

/* Where the IP header starts on an Ethernet device: behind up to two VLAN tags that are still in the data. */
inline_always int skip_ethernet(struct __sk_buff *skb, __u32 *l3)
{
    __u8 type[2], *usual = (__u8 *)(long)skb->data;
    __u32 at = 12;

    if (usual + 14 <= (__u8 *)(long)skb->data_end && (be16(usual + 12) == 0x0800 || be16(usual + 12) == 0x86dd)) {
        *l3 = 14;
        return PARSE_OK;
    }
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

/* `paged`: headers may lie outside the linear part. On the socket hook they do not: TCP has pulled them in (tcp_v4_rcv,
 * tcp_v6_rcv), or written them there. */
inline_always int parse_segment(struct __sk_buff *skb, __u32 l3, struct segment *s, const int paged)
{
    struct twenty headers[2], transport;
    const __u8 *head = (const __u8 *)headers, *tcp = (const __u8 *)&transport;
    __u32 l4, total;

    if (read_twenty(skb, l3, headers, paged))
        return PARSE_OTHER;
    if (head[0] >> 4 == 4) {
        if (head[9] != PROTOCOL_TCP)
            return PARSE_OTHER;
        if (be16(head + 6) & 0x3fff) /* more fragments, or an offset */
            return PARSE_FRAGMENT;
        s->version = 4;
        s->source = mapped_address(headers->word[3]);
        s->destination = mapped_address(headers->word[4]);
        l4 = l3 + ((head[0] & 15) << 2);
        total = be16(head + 2);
    } else if (head[0] >> 4 == 6) {
        if (read_twenty(skb, l3 + 20, headers + 1, paged))
            return PARSE_OTHER;
        s->version = 6;
        s->source = ipv6_address(headers->word + 2);
        s->destination = ipv6_address(headers->word + 6);
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
    if (read_twenty(skb, l4, &transport, paged))
        return PARSE_OTHER;
    s->source_port = be16(tcp);
    s->destination_port = be16(tcp + 2);
    s->seq = bpf_ntohl(transport.word[1]);
    s->ack = bpf_ntohl(transport.word[2]);
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

/* A port as an index. clang knows that it is in bounds, but Linux 6.1 forgets that of a value that was on the stack. */
inline_always __u64 port_index(__u64 port)
{
    asm volatile("" : "+r"(port));
    return port & 0xffff;
}

inline_always __u64 has_port(const __u64 *words, __u32 port)
{
    __u64 index = port_index(port);

    return words[index >> 6] >> (index & 63) & 1;
}


/* Is this Ethernet packet certainly none that a filter's port matches? Only what is usual is looked at: TCP right behind
 * an IP header without options, in the linear part. 0: look properly. */
inline_always int is_elsewhere(struct __sk_buff *skb, const struct port_bits *bits)
{
    __u8 *at = (__u8 *)(long)skb->data, *ports;

    if (at + 38 > (__u8 *)(long)skb->data_end) /* Ethernet 14, IPv4 20, ports 4 */
        return 0;
    __u16 type = be16(at + 12);
    if (type == 0x0800) {
        if (at[23] != PROTOCOL_TCP)
            return 1;
        if (at[14] != 0x45 || be16(at + 20) & 0x3fff) /* options; more fragments, or an offset */
            return 0;
        ports = at + 34;
    } else if (type == 0x86dd) {
        if (at[20] == PROTOCOL_UDP || at[20] == PROTOCOL_ICMP6)
            return 1;
        ports = at + 54;
        if (at[20] != PROTOCOL_TCP || ports + 4 > (__u8 *)(long)skb->data_end)
            return 0;
    } else {
        return 0;
    }
    return !(has_port(bits->interface, be16(ports)) | has_port(bits->interface, be16(ports + 2)));
}

/* Not copied: the numbers travel with the data. */
inline_always int is_pure_ack(const struct segment *s)
{
    return !s->length && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST));
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

/* Mixed once more: sampling keeps the flows whose hash is low, and they too shall go to every worker. */
inline_always __u32 worker_of(const struct flow_key *k, __u32 workers)
{
    if (workers < 2)
        return 0;
    return (__u64)(__u32)(flow_hash(k) * 0x9e3779b1U) * workers >> 32;
}

#endif
