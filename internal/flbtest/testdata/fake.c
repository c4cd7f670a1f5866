/*
 * A plugin in C for testing the hosts: it has the exports of a Go input called "duo", emits records numbered from `first`,
 * and writes one line per call to the file $FAKE_JOURNAL: its name, thread, time in milliseconds, and a detail. Options:
 *
 *   id     put into event_id, ID-N          first   number of the first record (0)
 *   batch  records per call (1)             limit   records in all (unbounded)
 *   init   what FLBPluginInit returns (1)   probe   comma list of keys: the journal shows what the host says of them
 *   gate   a file: no call brings a record before it is there
 *   leave  how many times Exit takes 10 ms (0)
 *
 * $FAKE_OVERRUN makes FLBPluginRegister write beyond the definition of hosts before 4.2.3.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct definition {
    int type, proxy, flags;
    char *name, *description;
    int event_type;
};

struct api {
    const char *(*output_get_property)(const char *, void *);
    const char *(*input_get_property)(const char *, void *);
    void *(*output_get_cmt_instance)(void *);
    void *(*input_get_cmt_instance)(void *);
    void (*log_print)(int, const char *, int, const char *, ...);
    int (*input_log_check)(void *, int);
};

struct plugin {
    char *name;
    struct api *api;
    void *i_ins;
    void **context; /* [1] is the remote context since 4.1.0, the proxy before */
};

struct instance {
    char id[32];
    long next, batch, limit;
    char gate[512]; /* "" once it is open */
    struct instance *older;
};

static struct instance *newest; /* where the host gives no context, there is only this one */

__attribute__((format(printf, 2, 3))) static void journal(const char *call, const char *format, ...)
{
    char line[1024];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    long ms = (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    int n = snprintf(line, sizeof line, "%s %ld %ld ", call, syscall(SYS_gettid), ms);
    va_list args;
    va_start(args, format);
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    int fd = open(getenv("FAKE_JOURNAL"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd == -1 || write(fd, line, (size_t)n) != n) {
        abort();
    }
    close(fd);
}

EXPORT int FLBPluginPreRegister(int hot)
{
    journal("PreRegister", "hot=%d", hot);
    return 0;
}

EXPORT int FLBPluginRegister(struct definition *def)
{
    journal("Register", "main=%d", getpid() == (pid_t)syscall(SYS_gettid));
    def->type = 1;
    def->proxy = 11;
    def->flags = 0;
    def->name = "duo";
    def->description = "numbers";
    if (getenv("FAKE_OVERRUN")) {
        def->event_type = 0;
    }
    return 0;
}

static const char *get(struct plugin *p, const char *key)
{
    return p->api->input_get_property(key, p->i_ins);
}

static long get_long(struct plugin *p, const char *key, long otherwise)
{
    const char *text = get(p, key);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static void probe(struct plugin *p, const char *keys)
{
    char copy[512], *rest;
    snprintf(copy, sizeof copy, "%s", keys);
    for (char *key = strtok_r(copy, ",", &rest); key; key = strtok_r(NULL, ",", &rest)) {
        const char *value = get(p, key);
        journal("Property", "%s=%s", key, value ? value : "(null)");
    }
}

static _Atomic long leave;

EXPORT int FLBPluginInit(struct plugin *p)
{
    int result = (int)get_long(p, "init", 1);
    const char *id = get(p, "id"), *keys = get(p, "probe"), *gate = get(p, "gate");
    leave = get_long(p, "leave", 0);
    if (keys) {
        probe(p, keys);
    }
    journal("Init", "id=%s layout=%s", id ? id : "", p->context[1] ? "old" : "new");
    if (result <= 0) {
        return result;
    }
    struct instance *in = calloc(1, sizeof *in);
    if (!in) {
        abort();
    }
    snprintf(in->id, sizeof in->id, "%s", id ? id : "");
    snprintf(in->gate, sizeof in->gate, "%s", gate ? gate : "");
    in->next = get_long(p, "first", 0);
    in->batch = get_long(p, "batch", 1);
    in->limit = in->next + get_long(p, "limit", 1L << 40);
    in->older = newest;
    newest = in;
    if (!p->context[1]) {
        p->context[1] = in;
    }
    if (p->api->input_log_check(p->i_ins, 3) && !p->api->input_log_check(p->i_ins, 4)) {
        p->api->log_print(3, __FILE__, __LINE__, "[input:duo:fake] %s begins at %ld", in->id, in->next);
    }
    return result;
}

EXPORT int FLBPluginInputPreRun(int hot)
{
    journal("PreRun", "hot=%d", hot);
    return 1;
}

/* [[EventTime, {}], {"n": N, "event_id": "ID-N", "z": [null, true]}], the EventTime 1700000000 + N seconds and N ns */
static size_t record(uint8_t *out, const struct instance *in, long n)
{
    uint8_t *b = out;
    uint32_t times[2] = {(uint32_t)(1700000000 + n), (uint32_t)n};
    char id[64];
    int length = snprintf(id, sizeof id, "%s-%ld", in->id, n);
    memcpy(b, "\x92\x92\xd7\x00", 4), b += 4;
    for (int i = 0; i < 2; i++) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            *b++ = (uint8_t)(times[i] >> shift);
        }
    }
    memcpy(b, "\x80\x83\xa1n\xce", 5), b += 5;
    for (int shift = 24; shift >= 0; shift -= 8) {
        *b++ = (uint8_t)((uint32_t)n >> shift);
    }
    memcpy(b, "\xa8" "event_id\xd9", 10), b += 10;
    *b++ = (uint8_t)length;
    memcpy(b, id, (size_t)length), b += length;
    memcpy(b, "\xa1z\x92\xc0\xc3", 5), b += 5;
    return (size_t)(b - out);
}

static int collect(struct instance *in, void **data, size_t *size)
{
    long n = in->limit - in->next < in->batch ? in->limit - in->next : in->batch;
    if (*in->gate && access(in->gate, F_OK) == 0) {
        *in->gate = '\0';
    }
    if (n <= 0 || *in->gate) {
        return 1;
    }
    uint8_t *buffer = malloc((size_t)n * 128);
    if (!buffer) {
        abort();
    }
    for (long i = 0; i < n; i++) {
        *size += record(buffer + *size, in, in->next++);
    }
    *data = buffer;
    journal("Collect", "id=%s next=%ld", in->id, in->next);
    return 1;
}

EXPORT int FLBPluginInputCallbackCtx(struct instance *in, void **data, size_t *size)
{
    return collect(in, data, size);
}

EXPORT int FLBPluginInputCallback(void **data, size_t *size)
{
    return collect(newest, data, size);
}

EXPORT int FLBPluginInputCleanupCallbackCtx(struct instance *in, void *data)
{
    journal("Cleanup", "id=%s next=%ld", in->id, in->next);
    free(data);
    return 1;
}

EXPORT int FLBPluginInputCleanupCallback(void *data)
{
    journal("Cleanup", "id=%s next=%ld plain", newest->id, newest->next);
    free(data);
    return 1;
}

EXPORT void FLBPluginInputPause(void)
{
    journal("Pause", "%s", "");
}

EXPORT void FLBPluginInputResume(void)
{
    journal("Resume", "%s", "");
}

EXPORT int FLBPluginInputPreExit(int hot)
{
    journal("PreExit", "hot=%d", hot);
    return 1;
}

EXPORT int FLBPluginExit(void)
{
    journal("Exit", "%s", "");
    for (long n = leave; n > 0; n--) {
        usleep(10 * 1000);
    }
    return 1;
}

EXPORT void FLBPluginUnregister(void *def)
{
    journal("Unregister", "main=%d def=%d", getpid() == (pid_t)syscall(SYS_gettid), def != NULL);
    while (newest) {
        struct instance *older = newest->older;
        free(newest);
        newest = older;
    }
}
