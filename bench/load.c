/* SPDX-License-Identifier: Apache-2.0
 *
 * Open-loop HTTP/1.1 client for the bench: one thread, one epoll set, loopback only.
 *
 * Request n is due at start + n / rate, whatever happened before; its latency is counted from that moment to the last
 * byte of its answer (no coordinated omission). A free connection takes the oldest due requests; when none is free they
 * wait, and the waiting counts. With --pipeline D requests fall due in groups of D, written at once on one connection.
 * With --short each request has a connection of its own, connect included in its latency.
 *
 * Latencies go to a log-linear histogram (128 steps per power of two: at most 0.8 % off). One JSON line at the end.
 * Build: cc -O2 -o load load.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024 /* concurrent ones; short connections beyond that wait, and the wait counts */
#define MAX_PIPELINE 16
#define HEAD_LIMIT 8192
#define READ_SIZE (256 * 1024)
#define STEPS 128 /* histogram steps per power of two */
#define BUCKETS (64 * STEPS)
#define GRACE_NS 5000000000ull /* how long answers are awaited after the last request was due */

struct connection {
    int fd;
    int inflight;     /* requests written or being written whose answers are not complete */
    int first;        /* index into due[] of the oldest one */
    uint64_t due[MAX_PIPELINE];
    size_t to_write;  /* bytes of the current group not yet written */
    size_t written;
    int connecting;
    int in_body;
    uint64_t body_left;
    int status;
    size_t head_length;
    char head[HEAD_LIMIT];
};

static struct {
    int port, connections, pipeline, shortlived, body;
    double rate, seconds;
    const char *method, *path;
} option = {.connections = 16, .pipeline = 1, .rate = 1000, .seconds = 5, .method = "GET", .path = "/"};

static struct connection *table;
static int epoll_fd;
static char *group;      /* the bytes of one group of requests */
static size_t request_length;
static uint64_t total, issued, completed, failed, bad_status, unsent, received;
static uint64_t histogram[BUCKETS];
static uint64_t started, slowest;
static char *sink;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void record(uint64_t ns)
{
    int shift = 0;
    uint64_t value = ns;

    if (ns > slowest)
        slowest = ns;
    while (value >= 2 * STEPS) {
        value >>= 1;
        shift++;
    }
    histogram[(size_t)shift * STEPS + value]++; /* shift 0 uses 0..255, each further shift the upper 128 */
}

static double percentile_us(double q)
{
    uint64_t seen = 0, wanted = (uint64_t)(q * (double)completed + 0.5);

    if (!completed)
        return -1;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen >= wanted && seen) {
            uint64_t shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
            uint64_t low = (i - shift * STEPS) << shift;
            return ((double)low + (double)(1ull << shift) / 2) / 1000.0;
        }
    }
    return (double)slowest / 1000.0;
}

static uint64_t due_of(uint64_t n)
{
    n -= n % (uint64_t)option.pipeline; /* a group falls due together */
    return started + (uint64_t)((double)n * 1e9 / option.rate);
}

static void watch(struct connection *c, uint32_t events, int how)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, how, c->fd, &e) < 0)
        die("epoll_ctl");
}

static int open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->in_body = 0;
    c->head_length = 0;
    c->connecting = 0;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        if (errno != EINPROGRESS) {
            close(c->fd);
            c->fd = -1;
            return -1;
        }
        c->connecting = 1;
    }
    watch(c, c->connecting ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
    return 0;
}

static void drop(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    failed += (uint64_t)c->inflight;
    c->inflight = 0;
    c->to_write = 0;
}

static void flush_requests(struct connection *c)
{
    while (c->to_write) {
        ssize_t n = send(c->fd, group + c->written, c->to_write, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
                return;
            }
            drop(c);
            return;
        }
        c->written += (size_t)n;
        c->to_write -= (size_t)n;
    }
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

/* Gives due requests to a free connection. Returns 0 when nothing is due. */
static int take_work(struct connection *c, uint64_t now)
{
    int n = 0;

    if (issued >= total || due_of(issued) > now)
        return 0;
    while (n < option.pipeline && issued < total && due_of(issued) <= now)
        c->due[n++] = due_of(issued++);
    c->first = 0;
    c->inflight = n;
    c->written = 0;
    c->to_write = request_length * (size_t)n;
    if (c->fd < 0 && open_connection(c) < 0) {
        drop(c);
        return 1;
    }
    if (!c->connecting) {
        ssize_t sent = send(c->fd, group, c->to_write, MSG_NOSIGNAL);
        if (sent == (ssize_t)c->to_write)
            c->to_write = 0;
        else if (sent >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
            c->written = sent > 0 ? (size_t)sent : 0;
            c->to_write -= c->written;
            watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
        } else
            drop(c);
    }
    return 1;
}

static void answered(struct connection *c)
{
    if (c->status < 200 || c->status > 299)
        bad_status++;
    record(now_ns() - c->due[c->first++]);
    completed++;
    c->inflight--;
    c->in_body = 0;
    c->head_length = 0;
    if (option.shortlived) {
        close(c->fd);
        c->fd = -1;
    }
}

/* The head is complete in c->head: status and Content-Length. 0 if it cannot be used. */
static int read_head(struct connection *c)
{
    char *line;

    c->head[c->head_length] = 0;
    if (strncmp(c->head, "HTTP/1.1 ", 9))
        return 0;
    c->status = atoi(c->head + 9);
    c->body_left = 0;
    line = strcasestr(c->head, "\r\nContent-Length:");
    if (line)
        c->body_left = strtoull(line + 17, NULL, 10);
    else if (c->status != 204)
        return 0;
    c->in_body = 1;
    return 1;
}

static void feed(struct connection *c, const char *data, size_t length)
{
    while (length || (c->in_body && !c->body_left)) {
        if (!c->inflight) {
            drop(c); /* bytes nobody asked for */
            failed++;
            return;
        }
        if (c->in_body) {
            size_t part = length < c->body_left ? length : (size_t)c->body_left;
            c->body_left -= part;
            data += part;
            length -= part;
            if (!c->body_left) {
                answered(c);
                if (c->fd < 0)
                    return;
            }
            continue;
        }
        /* Copy byte by byte until the blank line: heads are short and this is not what is measured. */
        while (length) {
            c->head[c->head_length++] = *data++;
            length--;
            if (c->head_length >= 4 && !memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4)) {
                if (!read_head(c)) {
                    drop(c);
                    return;
                }
                break;
            }
            if (c->head_length == HEAD_LIMIT - 1) {
                drop(c);
                return;
            }
        }
    }
}

static void ready(struct connection *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if (c->connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            drop(c);
            return;
        }
        c->connecting = 0;
    }
    if (events & EPOLLOUT)
        flush_requests(c);
    if (c->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        ssize_t n = recv(c->fd, sink, READ_SIZE, 0);
        if (n > 0) {
            received += (uint64_t)n;
            feed(c, sink, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            drop(c); /* the server closed: an idle keep-alive connection is opened again, the rest fails */
    }
}

static void build_requests(void)
{
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: shadowd-bench/1\r\nAccept: */*\r\n%s",
                     option.method, option.path, option.shortlived ? "Connection: close\r\n" : "");
    if (option.body)
        n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %d\r\n", option.body);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    request_length = (size_t)n + (size_t)option.body;
    group = malloc(request_length * (size_t)option.pipeline);
    if (!group)
        die("malloc");
    for (int i = 0; i < option.pipeline; i++) {
        memcpy(group + (size_t)i * request_length, head, (size_t)n);
        memset(group + (size_t)i * request_length + n, 'x', (size_t)option.body);
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'},   {"rate", 1, 0, 'r'},     {"seconds", 1, 0, 's'}, {"connections", 1, 0, 'c'},
        {"method", 1, 0, 'm'}, {"path", 1, 0, 'u'},     {"body", 1, 0, 'b'},    {"pipeline", 1, 0, 'd'},
        {"short", 0, 0, 'x'},  {0, 0, 0, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': option.port = atoi(optarg); break;
        case 'r': option.rate = atof(optarg); break;
        case 's': option.seconds = atof(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 'm': option.method = optarg; break;
        case 'u': option.path = optarg; break;
        case 'b': option.body = atoi(optarg); break;
        case 'd': option.pipeline = atoi(optarg); break;
        case 'x': option.shortlived = 1; break;
        default: exit(2);
        }
    }
    if (option.port < 1 || option.port > 65535 || option.rate <= 0 || option.rate > 1e6 || option.seconds <= 0 ||
        option.seconds > 600 || option.connections < 1 || option.connections > MAX_CONNECTIONS ||
        option.pipeline < 1 || option.pipeline > MAX_PIPELINE || option.body < 0 || option.body > 16 << 20 ||
        strlen(option.path) > 512 || strlen(option.method) > 16 || (option.shortlived && option.pipeline > 1)) {
        fprintf(stderr, "load: --port 1-65535 --rate 1-1000000 --seconds <=600 --connections 1-%d --pipeline 1-%d "
                        "--body <=16 MB; --short excludes --pipeline\n", MAX_CONNECTIONS, MAX_PIPELINE);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    struct rusage usage;
    int timer, cursor = 0;
    uint64_t armed = 0, last_due, now;

    parse_options(argc, argv);
    if (option.shortlived)
        option.connections = MAX_CONNECTIONS;
    prctl(PR_SET_TIMERSLACK, 1000ul);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    build_requests();
    total = (uint64_t)(option.rate * option.seconds);
    total -= total % (uint64_t)option.pipeline;
    sink = malloc(READ_SIZE);
    table = calloc((size_t)option.connections, sizeof *table);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!sink || !table || epoll_fd < 0 || timer < 0)
        die("set-up");
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &tick) < 0)
        die("epoll_ctl");
    for (int i = 0; i < option.connections; i++)
        table[i].fd = -1;
    if (!option.shortlived) {
        for (int i = 0; i < option.connections; i++)
            if (open_connection(&table[i]) < 0)
                die("connect");
        usleep(50000); /* handshakes end before the first request is due */
    }

    started = now_ns();
    last_due = due_of(total ? total - 1 : 0);
    while (completed + failed < total) {
        int n, free_left;

        now = now_ns();
        if (now > last_due + GRACE_NS)
            break;
        /* Hand out what is due, connections in turn so that all are used alike. */
        for (free_left = option.connections; free_left > 0; free_left--) {
            struct connection *c = &table[cursor];
            if (issued >= total || due_of(issued) > now)
                break;
            cursor = cursor + 1 == option.connections ? 0 : cursor + 1;
            if (!c->inflight && !take_work(c, now))
                break;
        }
        /* Wake at the next due time, unless all connections are busy: then only an answer helps. */
        if (issued < total && free_left > 0 && due_of(issued) != armed) {
            struct itimerspec at = {0};
            armed = due_of(issued);
            at.it_value.tv_sec = (time_t)(armed / 1000000000ull);
            at.it_value.tv_nsec = (long)(armed % 1000000000ull);
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
        }
        n = epoll_wait(epoll_fd, events, 256, 100);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                ready(events[i].data.ptr, events[i].events);
            else {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
                    die("timer");
            }
        }
    }
    now = now_ns();
    unsent = total - issued;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"requests\": %llu, \"completed\": %llu, \"failed\": %llu, \"unanswered\": %llu, \"unsent\": %llu, "
           "\"bad_status\": %llu, \"bytes\": %llu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p90_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"cpu_seconds\": %.3f}\n",
           (unsigned long long)total, (unsigned long long)completed, (unsigned long long)failed,
           (unsigned long long)(issued - completed - failed), (unsigned long long)unsent,
           (unsigned long long)bad_status, (unsigned long long)received, (double)(now - started) / 1e9,
           percentile_us(0.5), percentile_us(0.9), percentile_us(0.99), percentile_us(0.999),
           completed ? (double)slowest / 1000.0 : -1,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    return completed == total && !bad_status ? 0 : 1;
}
