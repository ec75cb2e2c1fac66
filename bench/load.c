/* The load of `make bench-faults`: a server that echoes or swallows, and the clients that time it.

   load serve PORTS             as many ports on 127.0.0.1, printed on one line; runs until its parent ends
   load bulk PORT BYTES         256 KB writes, one acknowledgement at the end; prints seconds
   load ping PORT COUNT         64 bytes there and back, one after the other; prints a line of nanoseconds each
   load connects PORT S WORKERS connect, one byte each way, close, over and over; prints connections a second
   load hold PORT COUNT         as many open connections, each after 64 bytes both ways; prints `open`, ends with its input

   A connection says with its first byte what it wants: `s` and eight bytes of length to be swallowed and acknowledged;
   any other byte to be echoed, that one included. One thread a connection. `load.py` does the same in Python. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { CHUNK = 256 * 1024, PING = 64 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

static int connected(int port) {
    struct sockaddr_in to = loopback(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static int receive_all(int fd, char *data, size_t size) {
    while (size) {
        ssize_t got = recv(fd, data, size, 0);
        if (got <= 0) return -1;
        data += got;
        size -= (size_t)got;
    }
    return 0;
}

static void echo(int fd, char first) {
    char data[4096] = {first};
    ssize_t got = 1;
    do {
        if (send_all(fd, data, (size_t)got)) return;
        got = recv(fd, data, sizeof data, 0);
    } while (got > 0);
}

static void swallow(int fd) {
    int64_t left;
    if (receive_all(fd, (char *)&left, sizeof left)) return;
    char *data = malloc(CHUNK);
    while (left > 0) {
        ssize_t got = recv(fd, data, CHUNK, 0);
        if (got <= 0) break;
        left -= got;
    }
    free(data);
    if (left == 0) send_all(fd, "a", 1);
}

static void *serve_one(void *argument) {
    int one = 1, fd = (int)(intptr_t)argument;
    char first[PING];
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (recv(fd, first, 1, 0) == 1) {
        if (first[0] == 's') swallow(fd);
        else echo(fd, first[0]);
    }
    close(fd);
    return NULL;
}

static void *serve_port(void *argument) {
    int listener = (int)(intptr_t)argument;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&small, 64 * 1024);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (pthread_create(&thread, &small, serve_one, (void *)(intptr_t)fd)) close(fd);
    }
    return NULL;
}

static void serve(int ports) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    for (int i = 0; i < ports; i++) {
        pthread_t thread;
        struct sockaddr_in at = loopback(0);
        socklen_t size = sizeof at;
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) die("listen");
        getsockname(listener, (struct sockaddr *)&at, &size);
        printf("%d ", ntohs(at.sin_port));
        if (pthread_create(&thread, NULL, serve_port, (void *)(intptr_t)listener)) die("thread");
    }
    printf("\n");
    fflush(stdout);
    for (;;) pause();
}

static void bulk(int port, int64_t bytes) {
    char answer, *data = calloc(1, CHUNK), head[9] = {'s'};
    int fd = connected(port);
    bytes -= bytes % CHUNK;
    memcpy(head + 1, &bytes, sizeof bytes);
    int64_t began = now_ns();
    if (send_all(fd, head, sizeof head)) die("send");
    for (int64_t left = bytes; left > 0; left -= CHUNK)
        if (send_all(fd, data, CHUNK)) die("send");
    if (receive_all(fd, &answer, 1)) die("acknowledgement");
    printf("%.9f\n", (double)(now_ns() - began) / 1e9);
}

static void ping(int port, int count) {
    char out[PING] = {'e'}, in[PING];
    int64_t *took = calloc((size_t)count, sizeof *took);
    int fd = connected(port);
    for (int i = 0; i < count; i++) {
        int64_t began = now_ns();
        if (send_all(fd, out, PING) || receive_all(fd, in, PING)) die("ping");
        took[i] = now_ns() - began;
    }
    for (int i = 0; i < count; i++) printf("%lld\n", (long long)took[i]);
}

static struct {
    int port;
    int64_t until;
} connecting;

static void *connect_often(void *argument) {
    int64_t *count = argument;
    while (now_ns() < connecting.until) {
        char byte = 'e';
        int fd = connected(connecting.port);
        if (send_all(fd, &byte, 1) || receive_all(fd, &byte, 1)) die("byte each way");
        close(fd);
        ++*count;
    }
    return NULL;
}

static void connects(int port, double seconds, int workers) {
    pthread_t threads[64];
    int64_t counts[64] = {0}, sum = 0, began = now_ns();
    if (workers > 64) workers = 64;
    connecting.port = port;
    connecting.until = began + (int64_t)(seconds * 1e9);
    for (int i = 0; i < workers; i++)
        if (pthread_create(&threads[i], NULL, connect_often, &counts[i])) die("thread");
    for (int i = 0; i < workers; i++) {
        pthread_join(threads[i], NULL);
        sum += counts[i];
    }
    printf("%.3f\n", (double)sum / ((double)(now_ns() - began) / 1e9));
}

static void hold(int port, int count) {
    char data[PING] = {'e'};
    for (int i = 0; i < count; i++) {
        int fd = connected(port);
        if (send_all(fd, data, PING) || receive_all(fd, data, PING)) die("hold");
    }
    printf("open\n");
    fflush(stdout);
    while (read(0, data, sizeof data) > 0) continue;
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    if (!strcmp(what, "serve")) serve(atoi(argv[2]));
    else if (!strcmp(what, "bulk") && argc == 4) bulk(atoi(argv[2]), atoll(argv[3]));
    else if (!strcmp(what, "ping") && argc == 4) ping(atoi(argv[2]), atoi(argv[3]));
    else if (!strcmp(what, "connects") && argc == 5) connects(atoi(argv[2]), atof(argv[3]), atoi(argv[4]));
    else if (!strcmp(what, "hold") && argc == 4) hold(atoi(argv[2]), atoi(argv[3]));
    else return fprintf(stderr, "load: how to call it stands at the top of load.c\n"), 2;
    return 0;
}
