/*
 * flbhost CONFIG
 *
 * Loads a Go input plugin as Fluent Bit's Go proxy does: the same structures, the same callbacks in the same order on the
 * same threads, the same ring between an input's thread and the main thread, and the same losses. What leaves the ring
 * counts as delivered, and is appended to OUT/TAG.msgpack as a frame: four bytes of length, big-endian, then the buffer as
 * the plugin gave it. Beside it lies OUT/NAME.N/open.flb, empty, where Fluent Bit has the chunks of the N-th input. A frame that a kill tore is cut off at the next start. There are no filters, outputs or retries.
 * Followed are Fluent Bit's src/flb_plugin_proxy.c, src/proxy/go/go.c, src/flb_input_thread.c, src/flb_input_chunk.c and
 * src/flb_engine.c.
 *
 * CONFIG has Fluent Bit's classic form: sections, `key value` lines, # comments, ${NAME} and ${NAME:-default}.
 *
 *   [service]                     [input], once per instance
 *     plugin      path | self       name  the plugin's name
 *     out         folder            tag   what to call its output
 *     layout      new | old         ...   anything else is the plugin's
 *     grace_ms    1000, the period of the tick between the first Pause and the exit
 *     collect_ms  1000
 *     log_level   info
 *     hot_reload  off
 *     pause       last | own
 *     metrics     on | off | half
 *     drain_ms    250, how often the main thread empties the rings
 *     times       off | on, a log line of each call of the collect callback that brought something: how long it took, for
 *                 how much of that the thread could have run but had no processor (Linux), and how many bytes there were
 *
 * plugin self is one that is linked into the host: Go's race detector does not work in a library that is loaded later.
 * layout old is Fluent Bit before 4.1: a context without coll_fd, and no ...Ctx callbacks. pause says whose collector a
 * pause stops: `last` is what Fluent Bit does, that of the instance initialised last, `own` what one would expect. metrics
 * off is a host that counts no records, half one with a processor that drops every second one: here it is only not counted.
 *
 * Commands come on stdin, one a line, and each is answered on stdout by `ok COMMAND` or `error COMMAND: reason`:
 *
 *   pause TAG     calls FLBPluginInputPause on the input's thread; its ring is not emptied until
 *   resume TAG    calls FLBPluginInputResume there
 *   drop TAG [N]  loses the next N (1) appends the way a full ring does: after ten tries of 100 ms, and cleanup follows
 *   stall MS      the main thread empties no ring for that long
 *   metrics TAG   writes the input's metrics to OUT/TAG.prom, in Prometheus' text format
 *   hang MS       the main thread hangs for that long in a filter of the next batch, which is counted but not written
 *   reload        Fluent Bit's hot reload; CONFIG is read again
 *   exit          the same as SIGTERM, SIGINT (neither on Windows) and the end of stdin, so that no host outlives its test
 *
 * Compiled with -DNO_GAUGES it lacks a part of the functions that make metrics.
 *
 * Exit status: 0; 1 for a plugin that cannot be used or a file that cannot be written; 2 for a mistake in the
 * configuration; 255 if an FLBPluginInit failed; SIGABRT if the plugin wrote beyond the definition that it was given.
 */
#define _GNU_SOURCE
#ifdef _WIN32
#define _POSIX_C_SOURCE 200809L
#define __USE_MINGW_ANSI_STDIO 1
#endif
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef _WIN32
#include "windows.h"
#else
#include <dlfcn.h>
#include <poll.h>
#include <sys/uio.h>
#endif

enum {
    RING_SLOTS = 1024,
    RING_TRIES = 10,
    RING_TRY_MS = 100,
    MAX_INPUTS = 64,
    MAX_COMMAND = 256,
    MAX_LOG = 4096,      /* a longer line is cut, as Fluent Bit cuts it */
    PROXY_INPUT = 1,     /* FLB_PROXY_INPUT_PLUGIN */
    PROXY_GOLANG = 11,   /* FLB_PROXY_GOLANG */
    EXIT_CONFIG = 2,
    EXIT_INIT = 255,
};

/* What a plugin sees. The layouts are Fluent Bit's and must not change. */

struct definition { /* flb_plugin_proxy_def before 4.2.3, which is all that may be written to */
    int type, proxy, flags;
    char *name, *description;
};
_Static_assert(sizeof(struct definition) == 32, "the definition of Fluent Bit before 4.2.3 has 32 bytes");

struct guarded_definition {
    struct definition def;
    unsigned char canary[32];
};

struct context_new { /* since 4.1.0 */
    int coll_fd;
    void *remote_context;
    void *proxy;
};

struct context_old {
    void *remote_context;
    void *proxy;
};

struct api { /* flb_api */
    const char *(*output_get_property)(const char *, void *);
    const char *(*input_get_property)(const char *, void *);
    void *(*output_get_cmt_instance)(void *);
    void *(*input_get_cmt_instance)(void *);
    void (*log_print)(int, const char *, int, const char *, ...);
    int (*input_log_check)(void *, int);
    int (*output_log_check)(void *, int);
    const char *(*custom_get_property)(const char *, void *);
    int (*custom_log_check)(void *, int);
};

struct plugin { /* flbgo_input_plugin: one for all instances, i_ins and context overwritten at each Init */
    char *name;
    void *api;
    void *i_ins;
    void *context;
    int (*init)(struct plugin *);
    int (*collect)(void **, size_t *);
    int (*collect_ctx)(void *, void **, size_t *);
    int (*cleanup)(void *);
    int (*cleanup_ctx)(void *, void *);
    int (*exit)(void);
};

/* What the host keeps for itself. */

struct property {
    char *key, *value;
    struct property *next;
};

struct block {
    void *data;
    size_t size;
};

struct ring {
    pthread_mutex_t lock;
    struct block slots[RING_SLOTS];
    unsigned first, used;
};

struct sample { /* of a metric, one value */
    char **labels;
    double value;
    struct sample *next;
};

struct metric { /* of those that a plugin makes */
    struct input *input;
    bool gauge;
    char *name, *help, **keys;
    int labels;
    struct sample *samples;
    struct metric *next;
};

struct input { /* the i_ins of the plugin */
    struct pipeline *pipeline;
    struct property *properties; /* in the order of the file */
    const char *name, *tag;
    char title[128];        /* the alias, or the name and a number */
    int log_level;
    void *context;
    pthread_t thread;
    int mail[2];            /* messages from the main thread, one byte each */
    sem_t initialised;
    int init_result;
    atomic_bool collecting; /* cleared by a pause, of any input's thread */
    atomic_int drops;       /* appends still to be dropped */
    atomic_ullong records;  /* fluentbit_input_records_total */
    atomic_ullong written;  /* fluentbit_input_ring_buffer_writes_total */
    atomic_ullong failed;   /* fluentbit_input_ring_buffer_retry_failures_total */
    pthread_mutex_t metrics_lock;
    struct metric *metrics; /* the plugin's own, the oldest first */
    bool paused;            /* the main thread's: its ring is not emptied */
    double exit_ms;         /* spent in the callbacks of the shutdown */
    double stood_ms;        /* of it, see struct watch */
    struct ring ring;
    int file, chunk;
};

enum message { RUN = 'R', PAUSE = 'p', RESUME = 'r', STOP = 's', EXIT = 'x' };

struct pipeline { /* one reading of the configuration, and what runs by it */
    char *plugin_path, *out;
    bool old_layout, hot_reload, pause_own, no_metrics, half_counted, times;
    long grace_ms, collect_ms, drain_ms;
    int log_level;
    struct input *inputs[MAX_INPUTS];
    size_t count;

    void *library;
    struct guarded_definition *guarded;
    struct api *api;
    struct plugin *plugin;
    struct input *last; /* proxy->instance: the one initialised last */
    int hot_exit;
};

static int signal_pipe[2], commands;
static double stalled_until;
static long hang_ms;

/* Small things. */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* How long this thread has been waiting for a processor: Linux' Documentation/scheduler/sched-stats.rst; 0 elsewhere. */
static double queued_ms(void)
{
    unsigned long long ran, queued = 0;
    FILE *f = fopen("/proc/thread-self/schedstat", "r");
    if (f && fscanf(f, "%llu %llu", &ran, &queued) != 2) {
        queued = 0;
    }
    if (f) {
        fclose(f);
    }
    return (double)queued / 1e6;
}

/*
 * Fluent Bit's timers fire at whole multiples of their period (mk_core/mk_event_epoll.c: _mk_event_timeout_create), all
 * inputs at the same full second: so much is decided by who comes first.
 */
static double next_tick(long period_ms)
{
    return (double)(((int64_t)now_ms() / period_ms + 1) * period_ms);
}

static int left_ms(double until)
{
    double left = until - now_ms();
    return left > 0 ? (int)left + 1 : 0;
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) == -1 && errno == EINTR) {
    }
}

static const char *const level_names[] = {"", "error", " warn", " info", "debug", "trace"};

/* One line, one write: lines of several threads do not mix. */
static void log_valist(int level, const char *format, va_list args)
{
    char line[MAX_LOG];
    time_t seconds = time(NULL);
    struct tm tm;
    size_t n = strftime(line, sizeof line, "[%Y/%m/%d %H:%M:%S]", localtime_r(&seconds, &tm));
    n += (size_t)snprintf(line + n, sizeof line - n, " [%s] ", level_names[level > 0 && level <= 5 ? level : 3]);
    int more = vsnprintf(line + n, sizeof line - n, format, args);
    n = more < 0 ? n : n + (size_t)more;
    n = n < sizeof line - 1 ? n : sizeof line - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) == -1) {
        return; /* nobody listens */
    }
}

__attribute__((format(printf, 2, 3))) static void log_line(int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_valist(level, format, args);
    va_end(args);
}

#define fatal(status, ...) (log_line(1, __VA_ARGS__), exit(status))

static void *must(void *p)
{
    if (p == NULL) {
        fatal(1, "flbhost: out of memory");
    }
    return p;
}

static void answer(const char *command, const char *error)
{
    char line[2 * MAX_COMMAND + 64];
    int n = error ? snprintf(line, sizeof line, "error %s: %s\n", command, error)
                  : snprintf(line, sizeof line, "ok %s\n", command);
    if (write(STDOUT_FILENO, line, (size_t)n) == -1) {
        return; /* nobody listens */
    }
}

/* Memory that Fluent Bit has freed is made unusable, so that a plugin that still uses it is found out. */
static void poison(void *p, size_t size)
{
    memset(p, 0xdd, size);
    free(p);
}

/* Properties and the configuration. */

static bool has_prefix(const char *s, const char *prefix)
{
    return strncasecmp(s, prefix, strlen(prefix)) == 0;
}

/* Keys that Fluent Bit takes for itself (src/flb_input.c: flb_input_set_property), a dot or underscore marking a family. */
static bool is_swallowed(const char *key)
{
    static const char *const names[] = {"name", "tag", "log_level", "log_suppress_interval", "routable", "alias",
        "mem_buf_limit", "listen", "host", "port", "ipv6", "tls", "threaded", "routes", "processors", NULL};
    static const char *const families[] = {"net.", "oauth2", "tls.", "storage.", "thread.", "rate_", NULL};
    for (int i = 0; names[i]; i++) {
        if (strcasecmp(key, names[i]) == 0) {
            return true;
        }
    }
    for (int i = 0; families[i]; i++) {
        if (has_prefix(key, families[i])) {
            return true;
        }
    }
    return false;
}

static const char *property(const struct property *p, const char *key)
{
    for (; p; p = p->next) {
        if (strcasecmp(p->key, key) == 0) {
            return p->value;
        }
    }
    return NULL;
}

static void properties_free(struct property *p)
{
    while (p) {
        struct property *next = p->next;
        free(p->key);
        free(p->value);
        free(p);
        p = next;
    }
}

static void add_text(char **text, const char *s, size_t n)
{
    size_t had = *text ? strlen(*text) : 0;
    *text = must(realloc(*text, had + n + 1));
    memcpy(*text + had, s, n);
    (*text)[had + n] = '\0';
}

/* Replaces ${NAME} and ${NAME:-default}; what is unset is empty. */
static char *expand(const char *s)
{
    char *text = NULL;
    add_text(&text, "", 0);
    while (*s) {
        const char *end = strncmp(s, "${", 2) == 0 ? strchr(s, '}') : NULL;
        if (end == NULL) {
            add_text(&text, s++, 1);
            continue;
        }
        char *name = NULL;
        add_text(&name, s + 2, (size_t)(end - s - 2));
        char *fallback = strstr(name, ":-");
        if (fallback) {
            *fallback = '\0';
            fallback += 2;
        }
        const char *value = getenv(name);
        value = value ? value : fallback ? fallback : "";
        add_text(&text, value, strlen(value));
        free(name);
        s = end + 1;
    }
    return text;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s)) {
        s++;
    }
    size_t n = strlen(s);
    while (n > 0 && isspace((unsigned char)s[n - 1])) {
        s[--n] = '\0';
    }
    return s;
}

static struct input *input_new(struct pipeline *pl)
{
    struct input *in = must(calloc(1, sizeof *in));
    in->pipeline = pl;
    in->mail[0] = in->mail[1] = in->file = in->chunk = -1;
    pthread_mutex_init(&in->ring.lock, NULL);
    pthread_mutex_init(&in->metrics_lock, NULL);
    sem_init(&in->initialised, 0, 0);
    pl->inputs[pl->count++] = in;
    return in;
}

static void strings_free(char **list, int n)
{
    for (int i = 0; i < n; i++) {
        free(list[i]);
    }
    free(list);
}

static void metrics_free(struct metric *m)
{
    while (m) {
        struct metric *next = m->next;
        while (m->samples) {
            struct sample *s = m->samples;
            m->samples = s->next;
            strings_free(s->labels, m->labels);
            poison(s, sizeof *s);
        }
        strings_free(m->keys, m->labels);
        free(m->name);
        free(m->help);
        poison(m, sizeof *m);
        m = next;
    }
}

/* What is still on the ring goes with it: at exit Fluent Bit frees it without a word. */
static void input_free(struct input *in)
{
    for (; in->ring.used > 0; in->ring.used--) {
        free(in->ring.slots[in->ring.first].data);
        in->ring.first = (in->ring.first + 1) % RING_SLOTS;
    }
    int fds[] = {in->mail[0], in->mail[1], in->file, in->chunk};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (fds[i] != -1) {
            close(fds[i]);
        }
    }
    metrics_free(in->metrics);
    properties_free(in->properties);
    pthread_mutex_destroy(&in->metrics_lock);
    pthread_mutex_destroy(&in->ring.lock);
    sem_destroy(&in->initialised);
    poison(in, sizeof *in);
}

static void inputs_free(struct pipeline *pl)
{
    while (pl->count > 0) {
        input_free(pl->inputs[--pl->count]);
    }
}

static bool bad_config(const char *path, int line, const char *what)
{
    log_line(1, "flbhost: %s:%d: %s", path, line, what);
    return false;
}

/* Reads the file into service and the inputs' properties. */
static bool config_lines(struct pipeline *pl, const char *path, FILE *f, struct property **service)
{
    struct property **end = NULL;
    char *text = NULL;
    size_t size = 0;
    bool ok = true;
    for (int number = 1; ok && getline(&text, &size, f) != -1; number++) {
        char *key = trim(text);
        if (*key == '\0' || *key == '#') {
            continue;
        }
        if (strcasecmp(key, "[service]") == 0) {
            for (end = service; *end; end = &(*end)->next) {
            }
            continue;
        }
        if (strcasecmp(key, "[input]") == 0) {
            ok = pl->count < MAX_INPUTS || bad_config(path, number, "too many inputs");
            end = ok ? &input_new(pl)->properties : NULL;
            continue;
        }
        char *value = key + strcspn(key, " \t");
        if (*value == '\0' || end == NULL) {
            ok = bad_config(path, number, end ? "a key without a value" : "neither in [service] nor in [input]");
            continue;
        }
        *value++ = '\0';
        struct property *p = *end = must(calloc(1, sizeof *p));
        p->key = must(strdup(key));
        p->value = expand(trim(value));
        end = &p->next;
    }
    free(text);
    return ok;
}

static int parse_level(const char *name, int otherwise)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};
    for (int i = 0; name && i < 6; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return i;
        }
    }
    return otherwise;
}

static long parse_positive(const char *text, long otherwise)
{
    long n = text ? strtol(text, NULL, 10) : otherwise;
    return n > 0 ? n : otherwise;
}

static bool is_value(const char *text, const char *want)
{
    return text && strcasecmp(text, want) == 0;
}

static bool config_meaning(struct pipeline *pl, const char *path, const struct property *service)
{
    const char *plugin = property(service, "plugin"), *out = property(service, "out");
    if (!plugin || !out || pl->count == 0) {
        return bad_config(path, 0, "plugin, out and at least one [input] are required");
    }
    pl->plugin_path = must(strdup(plugin));
    pl->out = must(strdup(out));
    pl->old_layout = is_value(property(service, "layout"), "old");
    pl->pause_own = is_value(property(service, "pause"), "own");
    pl->no_metrics = is_value(property(service, "metrics"), "off");
    pl->half_counted = is_value(property(service, "metrics"), "half");
    pl->hot_reload = is_value(property(service, "hot_reload"), "on");
    pl->grace_ms = parse_positive(property(service, "grace_ms"), 1000);
    pl->collect_ms = parse_positive(property(service, "collect_ms"), 1000);
    pl->drain_ms = parse_positive(property(service, "drain_ms"), 250);
    pl->times = is_value(property(service, "times"), "on");
    pl->log_level = parse_level(property(service, "log_level"), 3);
    for (size_t i = 0; i < pl->count; i++) {
        struct input *in = pl->inputs[i];
        in->name = property(in->properties, "name");
        in->tag = property(in->properties, "tag");
        in->log_level = parse_level(property(in->properties, "log_level"), pl->log_level);
        const char *alias = property(in->properties, "alias");
        snprintf(in->title, sizeof in->title, alias ? "%s" : "%s.%zu", alias ? alias : in->name, i);
        if (!in->name || !in->tag || strchr(in->tag, '/')) {
            return bad_config(path, 0, "an [input] needs a name, and a tag that can be a file's name");
        }
    }
    return true;
}

/* What the api offers to the plugin. */

static const char *api_input_get_property(const char *key, void *i_ins)
{
    return is_swallowed(key) ? NULL : property(((struct input *)i_ins)->properties, key);
}

static int api_input_log_check(void *i_ins, int level)
{
    return level <= ((struct input *)i_ins)->log_level;
}

static void api_log_print(int level, const char *file, int line, const char *format, ...)
{
    (void)file, (void)line;
    va_list args;
    va_start(args, format);
    log_valist(level, format, args);
    va_end(args);
}

static const char *api_no_property(const char *key, void *ins)
{
    (void)key, (void)ins;
    return NULL;
}

static void *api_no_metrics(void *ins)
{
    (void)ins;
    return NULL;
}

static void *api_input_get_cmt_instance(void *i_ins)
{
    return ((struct input *)i_ins)->pipeline->no_metrics ? NULL : i_ins;
}

/*
 * What plugins find among the symbols of the executable (lib/cmetrics, src/flb_input.c); a cmt is an input here. It has no
 * cmt_filter, as Fluent Bit before 3.0.
 */

const char *flb_input_name(void *i_ins);
char *cmt_encode_prometheus_create(void *cmt, int add_timestamp);
void cmt_encode_prometheus_destroy(char *text);
void *cmt_counter_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int labels, char **keys);
int cmt_counter_set(void *counter, uint64_t timestamp, double value, int labels, char **values);

const char *flb_input_name(void *i_ins)
{
    return ((struct input *)i_ins)->title;
}

/* Adds to a text, which is made larger. */
static void add(char **text, const char *format, ...)
{
    char *more = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&more, format, args) == -1) {
        must(NULL);
    }
    va_end(args);
    size_t had = *text ? strlen(*text) : 0, n = strlen(more) + 1;
    *text = must(realloc(*text, had + n));
    memcpy(*text + had, more, n);
    free(more);
}

static void add_metric(char **text, const struct metric *m)
{
    add(text, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->gauge ? "gauge" : "counter");
    for (const struct sample *s = m->samples; s; s = s->next) {
        add(text, "%s", m->name);
        for (int i = 0; i < m->labels; i++) {
            add(text, "%c%s=\"%s\"", i ? ',' : '{', m->keys[i], s->labels[i]);
        }
        add(text, "} %.17g\n", s->value);
    }
}

char *cmt_encode_prometheus_create(void *cmt, int add_timestamp)
{
    struct input *in = cmt;
    char *text = NULL;
    (void)add_timestamp;
    add(&text,
        "# HELP fluentbit_input_records_total Number of input records.\n"
        "# TYPE fluentbit_input_records_total counter\n"
        "fluentbit_input_records_total{name=\"%s\"} %.17g\n",
        in->title, (double)atomic_load(&in->records));
    if (!in->pipeline->old_layout) { /* since 4.1 */
        add(&text,
            "fluentbit_input_ring_buffer_writes_total{name=\"%s\"} %.17g\n"
            "fluentbit_input_ring_buffer_retry_failures_total{name=\"%s\"} %.17g\n",
            in->title, (double)atomic_load(&in->written), in->title, (double)atomic_load(&in->failed));
    }
    pthread_mutex_lock(&in->metrics_lock);
    for (const struct metric *m = in->metrics; m; m = m->next) {
        add_metric(&text, m);
    }
    pthread_mutex_unlock(&in->metrics_lock);
    return text;
}

void cmt_encode_prometheus_destroy(char *text)
{
    free(text);
}

static char **strings_copy(char **list, int n)
{
    char **copy = must(calloc((size_t)n + 1, sizeof *copy));
    for (int i = 0; i < n; i++) {
        copy[i] = must(strdup(list[i]));
    }
    return copy;
}

static struct metric *metric_new(void *cmt, bool gauge, const char *ns, const char *subsystem, const char *name, const char *help,
    int labels, char **keys)
{
    struct input *in = cmt;
    struct metric *m = must(calloc(1, sizeof *m)), **end;
    m->input = in;
    m->gauge = gauge;
    m->help = must(strdup(help));
    m->labels = labels;
    m->keys = strings_copy(keys, labels);
    if (asprintf(&m->name, "%s_%s_%s", ns, subsystem, name) == -1) {
        must(NULL);
    }
    pthread_mutex_lock(&in->metrics_lock);
    for (end = &in->metrics; *end; end = &(*end)->next) {
    }
    *end = m;
    pthread_mutex_unlock(&in->metrics_lock);
    return m;
}

static struct sample *find_sample(struct metric *m, char **labels)
{
    struct sample **s = &m->samples;
    for (; *s; s = &(*s)->next) {
        int same = 0;
        while (same < m->labels && strcmp((*s)->labels[same], labels[same]) == 0) {
            same++;
        }
        if (same == m->labels) {
            return *s;
        }
    }
    *s = must(calloc(1, sizeof **s));
    (*s)->labels = strings_copy(labels, m->labels);
    return *s;
}

static int metric_set(struct metric *m, double value, int labels, char **values)
{
    if (labels != m->labels) {
        log_line(1, "metric %s has %d labels, not %d", m->name, m->labels, labels);
        return -1;
    }
    pthread_mutex_lock(&m->input->metrics_lock);
    struct sample *s = find_sample(m, values);
    bool falls = !m->gauge && value < s->value;
    s->value = falls ? s->value : value;
    pthread_mutex_unlock(&m->input->metrics_lock);
    if (falls) {
        log_line(1, "attempting to reset unresetable counter: %s", m->name);
    }
    return falls ? -1 : 0;
}

void *cmt_counter_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int labels, char **keys)
{
    return metric_new(cmt, false, ns, subsystem, name, help, labels, keys);
}

int cmt_counter_set(void *counter, uint64_t timestamp, double value, int labels, char **values)
{
    (void)timestamp;
    return metric_set(counter, value, labels, values);
}

#ifndef NO_GAUGES
void *cmt_gauge_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int labels, char **keys);
int cmt_gauge_set(void *gauge, uint64_t timestamp, double value, int labels, char **values);

void *cmt_gauge_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int labels, char **keys)
{
    return metric_new(cmt, true, ns, subsystem, name, help, labels, keys);
}

int cmt_gauge_set(void *gauge, uint64_t timestamp, double value, int labels, char **values)
{
    (void)timestamp;
    return metric_set(gauge, value, labels, values);
}
#endif

/* What stands for the HTTP server. */
static const char *write_metrics(struct input *in)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.prom", in->pipeline->out, in->tag);
    FILE *f = fopen(path, "we");
    if (!f) {
        return "the file cannot be written";
    }
    char *text = cmt_encode_prometheus_create(in, 0);
    fputs(text, f);
    free(text);
    return fclose(f) == 0 ? NULL : "the file cannot be written";
}

static int api_no_log(void *ins, int level)
{
    (void)ins, (void)level;
    return 0;
}

static const struct api api_template = {
    .output_get_property = api_no_property,
    .input_get_property = api_input_get_property,
    .output_get_cmt_instance = api_no_metrics,
    .input_get_cmt_instance = api_input_get_cmt_instance,
    .log_print = api_log_print,
    .input_log_check = api_input_log_check,
    .output_log_check = api_no_log,
    .custom_get_property = api_no_property,
    .custom_log_check = api_no_log,
};

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that the bits are the same. */
#define SYMBOL(pl, field, name)                            \
    do {                                                   \
        void *symbol_ = dlsym((pl)->library, name);        \
        memcpy(&(field), &symbol_, sizeof symbol_);        \
    } while (0)

/* The ring, and the file that stands for all that follows it. */

static bool ring_push(struct ring *r, struct block b)
{
    pthread_mutex_lock(&r->lock);
    bool room = r->used < RING_SLOTS;
    if (room) {
        r->slots[(r->first + r->used++) % RING_SLOTS] = b;
    }
    pthread_mutex_unlock(&r->lock);
    return room;
}

static bool ring_pop(struct ring *r, struct block *b)
{
    pthread_mutex_lock(&r->lock);
    bool some = r->used > 0;
    if (some) {
        *b = r->slots[r->first];
        r->first = (r->first + 1) % RING_SLOTS;
        r->used--;
    }
    pthread_mutex_unlock(&r->lock);
    return some;
}

static bool take_drop(struct input *in)
{
    int n = atomic_load(&in->drops);
    while (n > 0 && !atomic_compare_exchange_weak(&in->drops, &n, n - 1)) {
    }
    return n > 0;
}

/* append_to_ring_buffer: the buffer is copied; the caller does not learn whether it was taken. */
static void append(struct input *in, const void *data, size_t size)
{
    struct block b = {must(malloc(size)), size};
    memcpy(b.data, data, size);
    bool drop = take_drop(in);
    for (int try = 0; try < RING_TRIES; try++) {
        if (!drop && ring_push(&in->ring, b)) {
            atomic_fetch_add(&in->written, 1);
            return;
        }
        sleep_ms(RING_TRY_MS);
    }
    atomic_fetch_add(&in->failed, 1);
    log_line(1, "[input:%s:%s] could not enqueue records into the ring buffer", in->name, in->tag);
    free(b.data);
}

/* The bytes that a msgpack object takes, those within it included: at most size, so that rubbish ends the count. */
static size_t object_size(const unsigned char *p, size_t size)
{
    /* of the formats 0xc4 to 0xdf: bytes of a length that follows, bytes of a value, values within per length */
    static const unsigned char length[] = {1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    static const unsigned char fixed[] = {0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0};
    size_t used = 0;
    for (uint64_t left = 1; left > 0 && used < size; left--) {
        unsigned char c = p[used++];
        if (c < 0x80 || c >= 0xe0 || (c >= 0xc0 && c <= 0xc3)) {
            continue;
        }
        if (c < 0xc0) { /* short maps, arrays and strings */
            left += c < 0x90 ? 2U * (c & 0x0f) : c < 0xa0 ? c & 0x0f : 0;
            used += c < 0xa0 ? 0 : c & 0x1f;
            continue;
        }
        uint64_t n = 0;
        for (int i = 0; i < length[c - 0xc4] && used < size; i++) {
            n = n << 8 | p[used++];
        }
        left += c >= 0xde ? 2 * n : c >= 0xdc ? n : 0;
        used += fixed[c - 0xc4] + (c < 0xdc ? n : 0);
    }
    return used < size ? used : size;
}

static void count(struct input *in, struct block b)
{
    unsigned long long n = 0;
    for (size_t used = 0; used < b.size; n++) {
        used += object_size((const unsigned char *)b.data + used, b.size - used);
    }
    atomic_fetch_add(&in->records, in->pipeline->half_counted ? n / 2 : n);
}

static void deliver(struct input *in, struct block b)
{
    count(in, b);
    if (hang_ms > 0) {
        sleep_ms((int)hang_ms);
        hang_ms = 0;
    }
    uint32_t n = (uint32_t)b.size;
    unsigned char head[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n};
    struct iovec parts[2] = {{head, sizeof head}, {b.data, b.size}};
    struct iovec *part = parts;
    while (part < parts + 2) {
        ssize_t done = writev(in->file, part, (int)(parts + 2 - part));
        if (done == -1 && errno != EINTR) {
            fatal(1, "flbhost: write %s: %s", in->tag, strerror(errno));
        }
        for (; done > 0 && part < parts + 2 && (size_t)done >= part->iov_len; part++) {
            done -= (ssize_t)part->iov_len;
        }
        if (done > 0) {
            part->iov_base = (char *)part->iov_base + done;
            part->iov_len -= (size_t)done;
        }
    }
    free(b.data);
}

static void drain(struct pipeline *pl)
{
    if (now_ms() < stalled_until) {
        return;
    }
    for (size_t i = 0; i < pl->count; i++) {
        struct block b;
        while (!pl->inputs[i]->paused && ring_pop(&pl->inputs[i]->ring, &b)) {
            deliver(pl->inputs[i], b);
        }
    }
}

static void open_file(struct input *in)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s.msgpack", in->pipeline->out, in->tag);
    in->file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (in->file == -1 || fstat(in->file, &st) == -1) {
        fatal(1, "flbhost: open %s: %s", path, strerror(errno));
    }
    off_t whole = 0;
    unsigned char h[4];
    while (pread(in->file, h, sizeof h, whole) == (ssize_t)sizeof h) {
        off_t end = whole + (off_t)sizeof h + (off_t)((uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3]);
        if (end > st.st_size) {
            break;
        }
        whole = end;
    }
    if (whole < st.st_size && ftruncate(in->file, whole) == -1) {
        fatal(1, "flbhost: truncate %s: %s", path, strerror(errno));
    }
}

/* A chunk that is up is an open file. */
static void open_chunk(struct input *in, size_t number)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.%zu", in->pipeline->out, in->name, number);
    if (mkdir(path, 0700) == -1 && errno != EEXIST) {
        fatal(1, "flbhost: make %s: %s", path, strerror(errno));
    }
    strncat(path, "/open.flb", sizeof path - strlen(path) - 1);
    in->chunk = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (in->chunk == -1) {
        fatal(1, "flbhost: open %s: %s", path, strerror(errno));
    }
}

/* An input's thread. */

static void **remote_context(struct input *in)
{
    return in->pipeline->old_layout ? &((struct context_old *)in->context)->remote_context
                                    : &((struct context_new *)in->context)->remote_context;
}

static int call_init(struct input *in)
{
    struct pipeline *pl = in->pipeline;
    if (pl->old_layout) {
        struct context_old *c = in->context = must(calloc(1, sizeof *c));
        c->proxy = pl;
    } else {
        struct context_new *c = in->context = must(calloc(1, sizeof *c));
        c->proxy = pl;
    }
    pl->last = in;
    pl->plugin->api = pl->api;
    pl->plugin->i_ins = in;
    pl->plugin->context = in->context;
    return pl->plugin->init(pl->plugin);
}

static void collect(struct input *in)
{
    struct pipeline *pl = in->pipeline;
    struct plugin *p = pl->plugin;
    void *data = NULL;
    size_t size = 0;
    double queued = pl->times ? queued_ms() : 0, start = now_ms();
    int result = !pl->old_layout && p->collect_ctx ? p->collect_ctx(*remote_context(in), &data, &size)
                                                   : p->collect(&data, &size);
    double took = now_ms() - start;
    if (size == 0 || result == -1) {
        return;
    }
    if (pl->times) {
        log_line(3, "flbhost: collect of %s took %.0f us, queued %.0f us, for %zu bytes", in->tag, took * 1e3,
            (queued_ms() - queued) * 1e3, size);
    }
    append(in, data, size);
    if (!pl->old_layout && p->cleanup_ctx) {
        p->cleanup_ctx(*remote_context(in), data);
    } else if (p->cleanup) {
        p->cleanup(data);
    } else {
        free(data);
    }
}

/* Calls FLBPluginInputPause or ...Resume, and stops or starts a collector: by a mistake of Fluent Bit the wrong one. */
static void call_pause(struct input *in, const char *symbol, bool collecting)
{
    struct pipeline *pl = in->pipeline;
    void (*callback)(void);
    SYMBOL(pl, callback, symbol);
    if (callback) {
        callback();
    }
    atomic_store(&(pl->pause_own ? in : pl->last)->collecting, collecting);
}

static void call_run(struct input *in)
{
    int (*callback)(int);
    atomic_store(&in->collecting, true);
    SYMBOL(in->pipeline, callback, "FLBPluginInputPreRun");
    if (callback) {
        callback(in->pipeline->hot_reload);
    }
}

static void call_exit(struct input *in)
{
    void (*callback)(int);
    SYMBOL(in->pipeline, callback, "FLBPluginInputPreExit");
    if (callback) {
        callback(in->pipeline->hot_exit);
    }
    if (in->pipeline->plugin->exit) {
        in->pipeline->plugin->exit();
    }
    poison(in->context, in->pipeline->old_layout ? sizeof(struct context_old) : sizeof(struct context_new));
}

/*
 * How long the machine stood still, or had no processor for anybody, while a call lasted: a thread that wants to wake each
 * 2 ms sees it.
 */
struct watch {
    pthread_t thread;
    atomic_bool over;
    double since, stood_ms;
};

static void *watch_thread(void *arg)
{
    struct watch *w = arg;
    const double each = 2, usual = 30;
    for (double last = w->since; !atomic_load(&w->over);) {
        usleep((useconds_t)(each * 1000));
        double now = now_ms(), late = now - last - each;
        w->stood_ms += late > usual ? late : 0;
        last = now;
    }
    return NULL;
}

static void watch_begin(struct watch *w)
{
    *w = (struct watch){.since = now_ms()};
    if (pthread_create(&w->thread, NULL, watch_thread, w) != 0) {
        fatal(1, "flbhost: start the thread that watches the clock: %s", strerror(errno));
    }
}

static double watch_end(struct watch *w)
{
    atomic_store(&w->over, true);
    pthread_join(w->thread, NULL);
    return w->stood_ms;
}

/* Calls what belongs to the shutdown. */
static void shut_down(struct input *in, enum message m)
{
    struct watch w;
    double start = now_ms();
    watch_begin(&w);
    if (m == STOP) {
        call_pause(in, "FLBPluginInputPause", false);
    } else {
        call_exit(in);
    }
    in->stood_ms += watch_end(&w);
    in->exit_ms += now_ms() - start;
}

static void handle(struct input *in, enum message m)
{
    char command[MAX_COMMAND];
    switch (m) {
    case RUN:
        call_run(in);
        break;
    case PAUSE:
    case RESUME:
        call_pause(in, m == PAUSE ? "FLBPluginInputPause" : "FLBPluginInputResume", m == RESUME);
        snprintf(command, sizeof command, "%s %s", m == PAUSE ? "pause" : "resume", in->tag);
        answer(command, NULL);
        break;
    case STOP:
    case EXIT:
        shut_down(in, m);
        break;
    }
}

static void *input_thread(void *arg)
{
    struct input *in = arg;
    char name[16];
    snprintf(name, sizeof name, "flb-in-%.8s", in->name);
    pthread_setname_np(pthread_self(), name);
    in->init_result = call_init(in);
    sem_post(&in->initialised);
    if (in->init_result <= 0) {
        return NULL;
    }
    double next = next_tick(in->pipeline->collect_ms);
    for (;;) {
        struct pollfd fd = {in->mail[0], POLLIN, 0};
        char m;
        if (poll(&fd, 1, left_ms(next)) > 0 && read(in->mail[0], &m, 1) == 1) {
            handle(in, (enum message)m);
            if (m == EXIT) {
                return NULL;
            }
        } else if (now_ms() >= next) {
            next = next_tick(in->pipeline->collect_ms); /* of several that are missed, one is made up for */
            if (atomic_load(&in->collecting)) {
                collect(in);
            }
        }
    }
}

/* The main thread. */

static void send_message(struct input *in, enum message m)
{
    char c = (char)m;
    if (write(in->mail[1], &c, 1) != 1) {
        fatal(1, "flbhost: message to %s: %s", in->tag, strerror(errno));
    }
}

/* flb_plugin_proxy_create and flb_plugin_proxy_register */
static void load(struct pipeline *pl, int hot)
{
    int (*pre_register)(int);
    int (*cb_register)(struct definition *);
    pl->library = dlopen(is_value(pl->plugin_path, "self") ? NULL : pl->plugin_path, RTLD_LAZY);
    if (!pl->library) {
        fatal(1, "[proxy] error opening plugin %s: '%s'", pl->plugin_path, dlerror());
    }
    pl->api = must(malloc(sizeof *pl->api));
    *pl->api = api_template;
    pl->guarded = must(calloc(1, sizeof *pl->guarded));
    memset(pl->guarded->canary, 0xa5, sizeof pl->guarded->canary);

    SYMBOL(pl, pre_register, "FLBPluginPreRegister");
    SYMBOL(pl, cb_register, "FLBPluginRegister");
    if (pre_register && pre_register(hot) == -1) {
        fatal(1, "[proxy] FLBPluginPreRegister of %s failed", pl->plugin_path);
    }
    struct definition *def = &pl->guarded->def;
    if (!cb_register || cb_register(def) == -1) {
        fatal(1, "[proxy] FLBPluginRegister of %s is missing or failed", pl->plugin_path);
    }
    for (size_t i = 0; i < sizeof pl->guarded->canary; i++) {
        if (pl->guarded->canary[i] != 0xa5) {
            log_line(1, "flbhost: the plugin wrote to byte %zu of a definition of 32", sizeof *def + i);
            abort();
        }
    }
    if (def->type != PROXY_INPUT || def->proxy != PROXY_GOLANG || !def->name) {
        fatal(1, "[proxy] type %d, proxy %d: not a Go input", def->type, def->proxy);
    }
    struct plugin *p = pl->plugin = must(calloc(1, sizeof *p));
    p->name = must(strdup(def->name));
    SYMBOL(pl, p->init, "FLBPluginInit");
    SYMBOL(pl, p->collect, "FLBPluginInputCallback");
    SYMBOL(pl, p->collect_ctx, "FLBPluginInputCallbackCtx");
    SYMBOL(pl, p->cleanup, "FLBPluginInputCleanupCallback");
    SYMBOL(pl, p->cleanup_ctx, "FLBPluginInputCleanupCallbackCtx");
    SYMBOL(pl, p->exit, "FLBPluginExit");
    if (!p->init || !(p->collect || (p->collect_ctx && !pl->old_layout))) {
        fatal(1, "[go proxy]: could not load FLBPluginInit or a collect callback");
    }
    for (size_t i = 0; i < pl->count; i++) {
        if (strcasecmp(pl->inputs[i]->name, p->name) != 0) {
            fatal(EXIT_CONFIG, "flbhost: the plugin is called %s, not %s", p->name, pl->inputs[i]->name);
        }
    }
}

/* FLBPluginUnregister, then everything that a plugin may have kept a pointer to. */
static void unload(struct pipeline *pl)
{
    void (*unregister)(struct definition *);
    SYMBOL(pl, unregister, "FLBPluginUnregister");
    if (unregister) {
        unregister(&pl->guarded->def);
    }
    free(pl->plugin->name);
    poison(pl->plugin, sizeof *pl->plugin);
    poison(pl->guarded, sizeof *pl->guarded);
    poison(pl->api, sizeof *pl->api);
    dlclose(pl->library);
}

static void pipeline_free(struct pipeline *pl)
{
    inputs_free(pl);
    free(pl->plugin_path);
    free(pl->out);
    free(pl);
}

/* Reads the configuration and registers the plugin; NULL if there is a mistake in the file. */
static struct pipeline *pipeline_new(const char *path, int hot)
{
    struct pipeline *pl = must(calloc(1, sizeof *pl));
    struct property *service = NULL;
    FILE *f = fopen(path, "r");
    bool ok = f ? config_lines(pl, path, f, &service) : bad_config(path, 0, strerror(errno));
    ok = ok && config_meaning(pl, path, service);
    properties_free(service);
    if (f) {
        fclose(f);
    }
    if (!ok) {
        pipeline_free(pl);
        return NULL;
    }
    load(pl, hot);
    return pl;
}

static void exit_input(struct input *in)
{
    send_message(in, EXIT);
    pthread_join(in->thread, NULL);
    fprintf(stderr, "flbhost: exit of %s took %.0f ms, of which the machine stood still for %.0f ms\n", in->tag, in->exit_ms, in->stood_ms);
}

/* Initialises one input after the other, each on its thread; then all begin to collect. */
static bool pipeline_start(struct pipeline *pl)
{
    for (size_t i = 0; i < pl->count; i++) {
        struct input *in = pl->inputs[i];
        open_file(in);
        open_chunk(in, i);
        if (pipe2(in->mail, O_CLOEXEC) == -1 || pthread_create(&in->thread, NULL, input_thread, in) != 0) {
            fatal(1, "flbhost: start the thread of %s: %s", in->tag, strerror(errno));
        }
        while (sem_wait(&in->initialised) == -1) {
        }
        if (in->init_result > 0) {
            continue;
        }
        log_line(1, "[go proxy]: plugin '%s' failed to initialize", pl->plugin->name);
        pthread_join(in->thread, NULL);
        free(in->context); /* it gets no Exit */
        while (i-- > 0) {
            exit_input(pl->inputs[i]);
        }
        return false;
    }
    for (size_t i = 0; i < pl->count; i++) {
        send_message(pl->inputs[i], RUN);
    }
    log_line(3, "flbhost: running, pid=%d", (int)getpid());
    return true;
}

/* flb_input_pause_all: what is paused already is not paused again */
static void pause_all(struct pipeline *pl)
{
    for (size_t i = 0; i < pl->count; i++) {
        if (!pl->inputs[i]->paused) {
            send_message(pl->inputs[i], STOP);
        }
    }
}

/* flb_engine_stop_ingestion, the grace period's tick, flb_engine_shutdown and flb_input_exit_all, which goes backwards */
static void pipeline_stop(struct pipeline *pl, int hot)
{
    pl->hot_exit = hot;
    pause_all(pl);
    double end = next_tick(pl->grace_ms);
    for (double next; (next = next_tick(pl->drain_ms)) < end;) {
        sleep_ms(left_ms(next));
        drain(pl);
    }
    sleep_ms(left_ms(end));
    pause_all(pl);
    for (size_t i = pl->count; i-- > 0;) {
        exit_input(pl->inputs[i]);
    }
    inputs_free(pl);
}

static void fail_init(struct pipeline *pl)
{
    inputs_free(pl);
    unload(pl);
    pipeline_free(pl);
    log_line(1, "[engine] input initialization failed");
    exit(EXIT_INIT);
}

/* flb_reload: the new is registered before the old is stopped, and initialised after the old is gone. */
static bool reload(struct pipeline **current, const char *path)
{
    struct pipeline *fresh = pipeline_new(path, 1);
    if (!fresh) {
        return false;
    }
    pipeline_stop(*current, 1);
    unload(*current);
    pipeline_free(*current);
    *current = fresh;
    if (!pipeline_start(fresh)) {
        fail_init(fresh);
    }
    return true;
}

static struct input *find(struct pipeline *pl, const char *tag)
{
    for (size_t i = 0; tag && i < pl->count; i++) {
        if (strcmp(pl->inputs[i]->tag, tag) == 0) {
            return pl->inputs[i];
        }
    }
    return NULL;
}

/* Answers pause and resume only when the input's thread has made the call. False ends the host. */
static bool run_command(struct pipeline **pl, const char *path, const char *line)
{
    char words[MAX_COMMAND], *rest;
    snprintf(words, sizeof words, "%s", line);
    const char *verb = strtok_r(words, " ", &rest);
    const char *first = strtok_r(NULL, " ", &rest), *second = strtok_r(NULL, " ", &rest);
    struct input *in = find(*pl, first);
    const char *error = NULL;
    if (!verb) {
        return true;
    }
    if (strcmp(verb, "exit") == 0) {
        answer(line, NULL);
        return false;
    }
    if (strcmp(verb, "reload") == 0) {
        error = reload(pl, path) ? NULL : "a mistake in the configuration, see above";
    } else if (strcmp(verb, "stall") == 0) {
        stalled_until = now_ms() + (double)parse_positive(first, 1000);
    } else if (strcmp(verb, "hang") == 0) {
        hang_ms = parse_positive(first, 1000);
    } else if (strcmp(verb, "pause") != 0 && strcmp(verb, "resume") != 0 && strcmp(verb, "drop") != 0 &&
               strcmp(verb, "metrics") != 0) {
        error = "unknown command; pause, resume, drop, metrics, stall, hang, reload or exit";
    } else if (!in) {
        error = "no input has that tag";
    } else if (strcmp(verb, "metrics") == 0) {
        error = write_metrics(in);
    } else if (strcmp(verb, "drop") == 0) {
        atomic_store(&in->drops, (int)parse_positive(second, 1));
    } else {
        in->paused = strcmp(verb, "pause") == 0;
        send_message(in, in->paused ? PAUSE : RESUME);
        return true;
    }
    answer(line, error);
    return true;
}

/* Runs each whole line of stdin. False at its end and after exit. */
static bool read_commands(struct pipeline **pl, const char *path)
{
    static char text[MAX_COMMAND];
    static size_t used;
    ssize_t n = read(commands, text + used, sizeof text - 1 - used);
    if (n <= 0) {
        return n == -1 && errno == EINTR;
    }
    used += (size_t)n;
    char *line = text, *end;
    while ((end = memchr(line, '\n', used - (size_t)(line - text))) != NULL) {
        *end = '\0';
        if (!run_command(pl, path, line)) {
            return false;
        }
        line = end + 1;
    }
    used -= (size_t)(line - text);
    memmove(text, line, used);
    if (used == sizeof text - 1) {
        fatal(EXIT_CONFIG, "flbhost: a command of more than %zu bytes", sizeof text - 2);
    }
    return true;
}

static void serve(struct pipeline **pl, const char *path)
{
    struct pollfd fds[2] = {{signal_pipe[0], POLLIN, 0}, {commands, POLLIN, 0}};
    double next = next_tick((*pl)->drain_ms);
    for (;;) {
        int ready = poll(fds, 2, left_ms(next));
        if (ready > 0 && fds[0].revents) {
            return;
        }
        if (ready > 0 && fds[1].revents && !read_commands(pl, path)) {
            return;
        }
        if (now_ms() >= next) {
            drain(*pl);
            next = next_tick((*pl)->drain_ms);
        }
    }
}

#ifdef _WIN32
static void catch_signals(void)
{
    /* there are none: the end of stdin is what ends this host */
    if (pipe2(signal_pipe, O_CLOEXEC) == -1 || (commands = commands_fd()) == -1) {
        fatal(1, "flbhost: pipe: %s", strerror(errno));
    }
}
#else
static void on_signal(int number)
{
    int saved = errno;
    ssize_t ignored = write(signal_pipe[1], &number, 1);
    (void)ignored; /* a full pipe says it already */
    errno = saved;
}

static void catch_signals(void)
{
    /* on its own stack: the signal may come to a thread of the Go runtime, whose stack is small */
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) == -1) {
        fatal(1, "flbhost: pipe: %s", strerror(errno));
    }
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
}
#endif

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: flbhost CONFIG\n");
        return EXIT_CONFIG;
    }
    catch_signals();
    struct pipeline *pl = pipeline_new(argv[1], 0);
    if (!pl) {
        return EXIT_CONFIG;
    }
    if (!pipeline_start(pl)) {
        fail_init(pl);
    }
    serve(&pl, argv[1]);
    pipeline_stop(pl, 0);
    unload(pl);
    pipeline_free(pl);
    return 0;
}
