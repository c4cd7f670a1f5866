/*
 * What host.c uses of POSIX, as far as mingw-w64 has it not. It is not more general than host.c needs.
 */
#include <direct.h>
#include <io.h>
#include <windows.h>

enum { POLLIN = 1, POLLHUP = 2, POLL_MS = 5, O_CLOEXEC = O_BINARY | O_NOINHERIT, O_NONBLOCK = 0, RTLD_LAZY = 0 };

struct pollfd {
    int fd;
    short events, revents;
};

struct iovec {
    void *iov_base;
    size_t iov_len;
};

#define mkdir(path, mode) _mkdir(path)

static int pipe2(int fds[2], int flags)
{
    return _pipe(fds, 4096, flags);
}

/* Looks at each pipe again and again: Windows cannot wait for several. */
static int poll(struct pollfd *fds, int n, int timeout_ms)
{
    for (int ready = 0;; timeout_ms -= POLL_MS) {
        for (int i = 0; i < n; i++) {
            DWORD bytes = 0;
            BOOL open = PeekNamedPipe((HANDLE)_get_osfhandle(fds[i].fd), NULL, 0, NULL, &bytes, NULL);
            fds[i].revents = open ? (bytes > 0 ? POLLIN : 0) : POLLHUP;
            ready += fds[i].revents != 0;
        }
        if (ready > 0 || timeout_ms <= 0) {
            return ready;
        }
        Sleep(POLL_MS);
    }
}

static ssize_t writev(int fd, const struct iovec *parts, int n)
{
    (void)n; /* the caller goes on behind what was written */
    return write(fd, parts->iov_base, (unsigned)parts->iov_len);
}

static ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    return lseek(fd, at, SEEK_SET) == -1 ? -1 : read(fd, buf, (unsigned)n);
}

static ssize_t getline(char **line, size_t *size, FILE *f)
{
    size_t used = 0;
    for (int c; (c = fgetc(f)) != EOF;) {
        if (used + 2 > *size) {
            char *more = realloc(*line, *size = 2 * *size + 128);
            if (more == NULL) {
                return -1;
            }
            *line = more;
        }
        (*line)[used++] = (char)c;
        (*line)[used] = '\0';
        if (c == '\n') {
            break;
        }
    }
    return used > 0 ? (ssize_t)used : -1;
}

static void *dlopen(const char *path, int mode)
{
    (void)mode;
    return path ? (void *)LoadLibraryA(path) : (void *)GetModuleHandleA(NULL);
}

static const char *dlerror(void)
{
    static char text[32];
    snprintf(text, sizeof text, "Windows error %lu", GetLastError());
    return text;
}

static void *dlsym(void *library, const char *name)
{
    return (void *)(uintptr_t)GetProcAddress(library, name);
}

static int dlclose(void *library)
{
    return FreeLibrary(library) ? 0 : -1;
}

/* Standard input need not be a pipe that can be looked at, so it is copied into one. */
static void *copy_stdin(void *to)
{
    char text[256];
    for (int n; (n = read(STDIN_FILENO, text, sizeof text)) > 0;) {
        if (write(*(int *)to, text, (unsigned)n) != n) {
            break;
        }
    }
    close(*(int *)to);
    return NULL;
}

/* Returns a descriptor of standard input that poll can look at. */
static int commands_fd(void)
{
    static int fds[2];
    pthread_t thread;
    _setmode(STDOUT_FILENO, O_BINARY);
    if (pipe2(fds, O_CLOEXEC) == -1 || pthread_create(&thread, NULL, copy_stdin, &fds[1]) != 0) {
        return -1;
    }
    pthread_detach(thread);
    return fds[0];
}
