/*
 * What duo_in needs of Fluent Bit's memory, in the layout that its Go proxy
 * gives it (include/fluent-bit/flb_plugin_proxy.h, flb_api.h; src/proxy/go/go.h).
 */
#ifndef DUO_IN_HOST_H
#define DUO_IN_HOST_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#define RTLD_DEFAULT GetModuleHandleA(NULL) /* the executable */
#define dlsym(module, name) ((void *) (uintptr_t) GetProcAddress(module, name))
#define pthread_self GetCurrentThreadId
#define DUO_EXPORT __declspec(dllexport)
#else
#define DUO_EXPORT __attribute__((visibility("default")))
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

/* The part of the definition that every host allocates. Newer hosts have more
 * fields behind it; writing those of an older one would be out of bounds. */
struct duo_def {
    int type;
    int proxy;
    int flags;
    char *name;
    char *description;
};

/* flb_api up to the last function used here. */
struct duo_api {
    void *output_get_property;
    void *input_get_property;
    void *output_get_cmt_instance;
    void *(*input_get_cmt_instance)(void *ins);
    void (*log_print)(int level, const char *file, int line, const char *format, ...);
    int (*input_log_check)(void *ins, int level);
};

/* What FLBPluginInit gets. The host overwrites it at the next Init. */
struct duo_plugin {
    char *name;
    struct duo_api *api;
    void *ins;
    void **context;
};

static inline void duo_define(void *def, int type, int proxy, char *name, char *description)
{
    struct duo_def *d = def;

    d->type = type;
    d->proxy = proxy;
    d->flags = 0;
    d->name = name;
    d->description = description;
}

/*
 * Since 4.1.0 the context is {int, handle, proxy}, before that it is {handle,
 * proxy}. So the second word is NULL only where it is the place of the handle.
 * Returns the handle: the address of the instance's bell, which rings, or NULL where
 * the host can keep none. It is never freed, since what outlasts an instance may ring.
 */
static inline void *duo_new_handle(void *plugin)
{
    void **context = ((struct duo_plugin *) plugin)->context;

    if (context == NULL || context[1] != NULL) {
        return NULL;
    }
    context[1] = malloc(sizeof(int32_t));
    if (context[1] != NULL) {
        *(int32_t *) context[1] = 0;
    }
    return context[1];
}

/* Unlike cgo's malloc, which ends the process, NULL where there is no memory. */
static inline void *duo_alloc(size_t size)
{
    return malloc(size);
}

/*
 * Frees what duo_alloc returned, and gives the system its whole pages at once. By itself free keeps them: glibc's does up
 * to twice what was freed once, of each of its arenas, and each thread of Go's may use another.
 */
static inline void duo_free(void *data, size_t size)
{
#ifndef _WIN32
    uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t) data + page - 1) / page * page, to = ((uintptr_t) data + size) / page * page;

    if (from < to) {
        (void) madvise((void *) from, to - from, MADV_DONTNEED);
    }
#endif
    free(data);
}

static inline int duo_rings(void *handle)
{
    return __atomic_load_n((int32_t *) handle, __ATOMIC_SEQ_CST) != 0;
}

static inline void *duo_api_of(void *plugin)
{
    return ((struct duo_plugin *) plugin)->api;
}

static inline void *duo_ins_of(void *plugin)
{
    return ((struct duo_plugin *) plugin)->ins;
}

static inline int duo_has_log(void *api)
{
    struct duo_api *a = api;

    return a != NULL && a->log_print != NULL && a->input_log_check != NULL;
}

static inline int duo_log_check(void *api, void *ins, int level)
{
    return ((struct duo_api *) api)->input_log_check(ins, level);
}

static inline void duo_log(void *api, int level, const char *text)
{
    ((struct duo_api *) api)->log_print(level, NULL, 0, "%s", text);
}

/* A function among the symbols of the executable; NULL: it has none of that name. */
static inline void *duo_symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

/* What the host calls an input: its alias, or its plugin's name and a number. NULL: it does not say. */
static inline const char *duo_name(void *ins)
{
    const char *(*name)(void *ins) = NULL;
    void *symbol = duo_symbol("flb_input_name");

    memcpy(&name, &symbol, sizeof name);
    return name != NULL ? name(ins) : NULL;
}

/*
 * What it takes to add metrics to an input's (lib/cmetrics/include/cmetrics/cmt_counter.h, cmt_gauge.h): the same from
 * 2.0 on. Of each pair the first is a counter's, the second a gauge's.
 */
struct duo_cmt {
    void *cmt; /* NULL: the host has none, or lacks one of these */
    void *(*create[2])(void *cmt, char *ns, char *subsystem, char *name, char *help, int labels, char **keys);
    int (*set[2])(void *metric, uint64_t nanoseconds, double value, int labels, char **values);
};

static inline struct duo_cmt duo_cmt_of(void *api, void *ins)
{
    struct duo_api *a = api;
    struct duo_cmt c = {NULL};
    void *symbols[4] = {
        duo_symbol("cmt_counter_create"), duo_symbol("cmt_gauge_create"), duo_symbol("cmt_counter_set"), duo_symbol("cmt_gauge_set"),
    };

    for (int i = 0; i < 4; i++) {
        if (symbols[i] == NULL) {
            return c;
        }
    }
    memcpy(c.create, symbols, sizeof c.create);
    memcpy(c.set, symbols + 2, sizeof c.set);
    c.cmt = a != NULL && a->input_get_cmt_instance != NULL ? a->input_get_cmt_instance(ins) : NULL;
    return c;
}

enum { DUO_LABELS = 4 };

/* Takes joined strings apart, each of which ends with a NUL. */
static inline void duo_split(char *joined, int n, char **parts)
{
    for (int i = 0; i < n; i++) {
        parts[i] = joined;
        joined += strlen(joined) + 1;
    }
}

/* The host copies all that it is given. NULL: it does not take the metric. */
static inline void *duo_metric_new(struct duo_cmt c, int gauge, char *ns, char *subsystem, char *name, char *help, int labels, char *keys)
{
    char *parts[DUO_LABELS];

    duo_split(keys, labels, parts);
    return c.create[gauge](c.cmt, ns, subsystem, name, help, labels, parts);
}

static inline void duo_metric_set(struct duo_cmt c, int gauge, void *metric, uint64_t nanoseconds, double value, int labels, char *values)
{
    char *parts[DUO_LABELS];

    duo_split(values, labels, parts);
    c.set[gauge](metric, nanoseconds, value, labels, parts);
}

/*
 * The input's metrics whose names begin with prefix, in Prometheus' text format, and maybe others; to be freed with
 * duo_metrics_free. NULL where the host has none. Their encoder is not in flb_api but among the symbols of the executable
 * (lib/cmetrics/src/cmt_encode_prometheus.c). It takes milliseconds for what an input of many accounts shows: so what is
 * wanted is copied out first, where the host can do that (cmt_filter.c, since 3.0). The metrics are all made by the end of
 * Init, so that reading them beside the main thread, which only adds to them, is safe. (But for those of each tag, off by
 * default, of 5.1; such a one is put into its list once, when it is complete.)
 */
static inline char *duo_metrics(void *api, void *ins, const char *prefix)
{
    enum { FILTER_PREFIX = 1 << 2 };
    struct duo_api *a = api;
    char *(*encode)(void *cmt, int timestamps);
    void *(*create)(void);
    int (*filter)(void *to, void *from, const char *name, const char *label, void *context, void *compare, int flags);
    void (*destroy)(void *cmt);
    void *symbols[] = {
        duo_symbol("cmt_encode_prometheus_create"), duo_symbol("cmt_create"), duo_symbol("cmt_filter"), duo_symbol("cmt_destroy"),
    };
    void *part = NULL, *cmt = symbols[0] && a && a->input_get_cmt_instance ? a->input_get_cmt_instance(ins) : NULL;
    char *text = NULL;

    if (cmt == NULL || duo_symbol("cmt_encode_prometheus_destroy") == NULL) {
        return NULL;
    }
    memcpy(&encode, &symbols[0], sizeof encode);
    memcpy(&create, &symbols[1], sizeof create);
    memcpy(&filter, &symbols[2], sizeof filter);
    memcpy(&destroy, &symbols[3], sizeof destroy);
    if (create == NULL || filter == NULL || destroy == NULL) {
        return encode(cmt, 0);
    }
    part = create();
    if (part == NULL) {
        return NULL;
    }
    if (filter(part, cmt, prefix, NULL, NULL, NULL, FILTER_PREFIX) == 0) {
        text = encode(part, 0);
    }
    destroy(part);
    return text;
}

static inline void duo_metrics_free(char *text)
{
    void (*destroy)(char *text) = NULL;
    void *symbol = duo_symbol("cmt_encode_prometheus_destroy");

    memcpy(&destroy, &symbol, sizeof destroy);
    destroy(text);
}

static inline uintptr_t duo_thread(void)
{
    return (uintptr_t) pthread_self();
}

#endif
