/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a segment to entries of a ring. `to` is the worker's ring, `wake` the flags its entries are submitted with.
 */
#ifndef SHADOWD_EMIT_H
#define SHADOWD_EMIT_H

#include "abi.h"
#include "parse.h"

#define RB_NO_WAKEUP 1
#define RB_FORCE_WAKEUP 2
#define RB_AVAIL_DATA 0
#define RB_RING_SIZE 1

#define COUNT(n, index, amount) __sync_fetch_and_add(&(n)->value[index], amount)

inline_always int emit_head(void *to, const struct record *head, u64 wake, struct counters *n)
{
    struct record *out = bpf_ringbuf_reserve(to, sizeof(struct record), 0);
    if (!out) {
        COUNT(n, COUNT_RING_FULL, 1);
        return 0;
    }
    *out = *head;
    bpf_ringbuf_submit(out, wake);
    COUNT(n, COUNT_RECORDS, 1);
    return 1;
}

#define CHUNK_COPIED 0
#define CHUNK_NO_ROOM 1
#define CHUNK_NOT_READ 2

/* One chunk of `length` bytes (1 .. `room`, a power of two and a constant here) at packet offset `at`. */
inline_always int emit_chunk(void *to, struct __sk_buff *skb, const struct record *head, u32 at, u32 offset, u64 length,
                             u64 wake, const u32 room)
{
    u8 *out = bpf_ringbuf_reserve(to, sizeof(struct record) + room, 0);
    if (!out)
        return CHUNK_NO_ROOM;
    struct record *r = (struct record *)out;
    *r = *head;
    r->chunk_offset = offset;
    r->chunk_length |= length; /* beside the urgent pointer */
    asm volatile("" : "+r"(length));
    length = ((length - 1) & (room - 1)) + 1; /* 1 .. room for every verifier */
    if (bpf_skb_load_bytes(skb, at, out + sizeof(struct record), length)) {
        bpf_ringbuf_discard(out, RB_NO_WAKEUP);
        return CHUNK_NOT_READ;
    }
    bpf_ringbuf_submit(out, wake);
    return CHUNK_COPIED;
}

/* True if all of it reached the ring. */
inline_always int emit_segment(void *to, struct __sk_buff *skb, struct record *head, const struct segment *s, u64 wake,
                               struct counters *n)
{
    u32 length = s->length, done = 0, at = s->payload;
    int result = CHUNK_COPIED;

    COUNT(n, COUNT_SEGMENTS, 1);
    if (!length)
        return emit_head(to, head, wake, n);
    COUNT(n, COUNT_BYTES, length);
    if (length <= 16384) {
        if (length <= 128)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 128);
        else if (length <= 256)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 256);
        else if (length <= 512)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 512);
        else if (length <= 1024)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 1024);
        else if (length <= 2048)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 2048);
        else if (length <= 4096)
            result = emit_chunk(to, skb, head, at, 0, length, wake, 4096);
        else
            result = emit_chunk(to, skb, head, at, 0, length, wake, 16384);
        if (result == CHUNK_COPIED) {
            COUNT(n, COUNT_RECORDS, 1);
            return 1;
        }
    } else {
        /* Whole chunks, then what is left: in one loop the verifier would follow each mixture of both. */
        u32 whole = length / CHUNK_BYTES;
#pragma clang loop unroll(disable)
        for (u32 i = 0; i < MAX_CHUNKS; i++) {
            if (i >= whole)
                break;
            result = emit_chunk(to, skb, head, at + done, done, CHUNK_BYTES, wake, CHUNK_BYTES);
            if (result != CHUNK_COPIED)
                break;
            done += CHUNK_BYTES;
        }
        if (result == CHUNK_COPIED && whole < MAX_CHUNKS && length > done) {
            result = emit_chunk(to, skb, head, at + done, done, length - done, wake, CHUNK_BYTES);
            if (result == CHUNK_COPIED) {
                COUNT(n, COUNT_RECORDS, whole + 1);
                return 1;
            }
        }
        COUNT(n, COUNT_RECORDS, done / CHUNK_BYTES);
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

/* A segment of one of our own connections: its time, sequence and length. */
inline_always void emit_time(void *to, const struct segment *s, u64 cookie, u8 direction, u64 wake, struct counters *n)
{
    struct {
        u64 words[TIMING_BYTES / 8];
    } *out = bpf_ringbuf_reserve(to, TIMING_BYTES, 0);
    if (!out) {
        COUNT(n, COUNT_TIMING_LOST, 1);
        return;
    }
    out->words[0] = bpf_ktime_get_ns();
    out->words[1] = cookie;
    out->words[2] = (u64)s->ack << 32 | s->seq;
    out->words[3] = s->length;
    out->words[4] = (u64)RECORD_TIMING << 32 | (u64)direction << 40 | (u64)(s->flags & 0xff) << 48;
    bpf_ringbuf_submit(out, wake);
    COUNT(n, COUNT_TIMING, 1);
}

#endif
