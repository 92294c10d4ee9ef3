/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HAVE_VALGRIND
#    include <valgrind/valgrind.h>
#endif

#include "base/cleanup.h"
#include "base/compiler.h"
#include "base/list.h"
#include "co/co.h"
#include "co/stack.h"

#ifdef __has_feature
#    if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#        define __SANITIZE_ADDRESS__ 1
#    endif
#endif
#ifdef __SANITIZE_ADDRESS__
#    include <sanitizer/asan_interface.h>
#else
#    define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#    define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#ifndef MADV_GUARD_INSTALL /* Linux 6.13 */
#    define MADV_GUARD_INSTALL 102
#endif

#define STACK_COLOURS     ((size_t)16)
#define STACK_COLOUR_STEP ((size_t)256)

/* Mappings that the rest of the process may need. */
#define STACK_SPARE_MAPPINGS 5000

/* The stacks that one thread keeps. */
struct pool {
    struct stack *free;  /* the thread takes from here and gives here */
    struct stack *spare; /* NULL or a batch */

    /* Written by the thread, read by co_pool_stats(). */
    atomic_uint n_free;
    atomic_uint n_spare;

    bool registered;
    struct list link; /* in global.pools */
};

static __thread struct pool local;

static struct {
    pthread_once_t once;
    pthread_key_t key; /* runs pool_exit() when a thread ends */
    size_t page, map_size, cap;
    atomic_size_t created;

    pthread_mutex_t lock; /* guards the rest */
    struct stack *batches;
    size_t n_stacks; /* in @batches */
    struct list pools;
} global = {
    .once = PTHREAD_ONCE_INIT,
    .lock = PTHREAD_MUTEX_INITIALIZER,
};

static void pool_exit(void *opaque);

/* vm.max_map_count, or 0 when it cannot be known. */
static long max_map_count(void)
{
    auto_close int fd =
        open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    char buf[32] = "";

    if (fd < 0 || read(fd, buf, sizeof(buf) - 1) <= 0) {
        return 0;
    }
    return strtol(buf, NULL, 10);
}

static void global_init(void)
{
    long maps = max_map_count();
    int rc;

    global.page = (size_t)sysconf(_SC_PAGESIZE);
    global.map_size = global.page + CO_STACK_SIZE;
    global.map_size += STACK_COLOURS * STACK_COLOUR_STEP + STACK_HEADER;
    global.map_size += -global.map_size % global.page;

    /* A stack and its guard page are two mappings. */
    if (maps > STACK_SPARE_MAPPINGS) {
        global.cap = (size_t)(maps - STACK_SPARE_MAPPINGS) / 2;
    }
    if (global.cap > STACK_POOL_MAX) {
        global.cap = STACK_POOL_MAX;
    }
    list_init(&global.pools);
    rc = pthread_key_create(&global.key, pool_exit);
    assert(rc == 0);
}

/* -- One stack ------------------------------------------------------------ */

/* Newer kernels mark guard pages without splitting the mapping in two. */
static int guard_page(void *page)
{
    if (madvise(page, global.page, MADV_GUARD_INSTALL) == 0) {
        return 0;
    }
    return mprotect(page, global.page, PROT_NONE);
}

static struct stack *stack_map(void)
{
    struct stack *s;
    size_t colour;
    char *map;

    map = mmap(NULL, global.map_size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED) {
        return NULL;
    }
    if (guard_page(map) < 0) {
        (void)munmap(map, global.map_size);
        return NULL;
    }
    colour = atomic_fetch_add(&global.created, 1) % STACK_COLOURS;
    s = (struct stack *)(void *)(map + global.map_size - STACK_HEADER -
                                 colour * STACK_COLOUR_STEP);
    *s = (struct stack){.map = map, .bottom = map + global.page};
#ifdef HAVE_VALGRIND
    s->valgrind_id = VALGRIND_STACK_REGISTER(s->bottom, s);
#endif
    return s;
}

static void stack_unmap(struct stack *s)
{
#ifdef HAVE_VALGRIND
    VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#endif
    ASAN_UNPOISON_MEMORY_REGION(s->bottom, stack_size(s));
    (void)munmap(s->map, global.map_size);
    atomic_fetch_sub(&global.created, 1);
}

/* -- The global pool ------------------------------------------------------ */

/* Takes the batch that begins with @batch. */
static void global_give(struct stack *batch, unsigned size)
{
    bool keep;

    if (!batch) {
        return;
    }
    pthread_mutex_lock(&global.lock);
    keep = global.n_stacks + size <= global.cap;
    if (keep) {
        batch->batch_size = size;
        batch->next_batch = global.batches;
        global.batches = batch;
        global.n_stacks += size;
    }
    pthread_mutex_unlock(&global.lock);

    while (!keep && batch) {
        struct stack *next = batch->next;

        stack_unmap(batch);
        batch = next;
    }
}

static struct stack *global_take(unsigned *ret_size)
{
    struct stack *batch;

    pthread_mutex_lock(&global.lock);
    batch = global.batches;
    if (batch) {
        global.batches = batch->next_batch;
        global.n_stacks -= batch->batch_size;
        *ret_size = batch->batch_size;
    }
    pthread_mutex_unlock(&global.lock);
    return batch;
}

/* -- The pool of a thread ------------------------------------------------- */

/* Only this thread writes its counters: no atomic addition is needed. */
static inline unsigned count_get(const atomic_uint *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static inline void count_set(atomic_uint *n, unsigned value)
{
    atomic_store_explicit(n, value, memory_order_relaxed);
}

static void pool_register(void)
{
    int rc;

    pthread_once(&global.once, global_init);
    rc = pthread_setspecific(global.key, &local);
    assert(rc == 0);
    pthread_mutex_lock(&global.lock);
    list_add_tail(&global.pools, &local.link);
    pthread_mutex_unlock(&global.lock);
    local.registered = true;
}

/* Makes local.free not empty.  Returns false when no stack can be made. */
static bool pool_refill(void)
{
    struct stack *batch;
    unsigned size = 0;

    if (!local.registered) {
        pool_register();
    }
    if (local.spare) {
        batch = local.spare;
        size = count_get(&local.n_spare);
        local.spare = NULL;
        count_set(&local.n_spare, 0);
    } else {
        batch = global_take(&size);
    }
    if (!batch) {
        batch = stack_map();
        size = 1;
    }
    if (!batch) {
        return false;
    }
    local.free = batch;
    count_set(&local.n_free, size);
    return true;
}

/* Makes room in local.free, which is a full batch. */
static void pool_shed(void)
{
    global_give(local.spare, count_get(&local.n_spare));
    local.spare = local.free;
    count_set(&local.n_spare, count_get(&local.n_free));
    local.free = NULL;
    count_set(&local.n_free, 0);
}

struct stack *stack_get(void)
{
    struct stack *s;

    if (unlikely(!local.free) && !pool_refill()) {
        return NULL;
    }
    s = local.free;
    local.free = s->next;
    count_set(&local.n_free, count_get(&local.n_free) - 1);
    ASAN_UNPOISON_MEMORY_REGION(s->bottom, stack_size(s));
    return s;
}

void stack_put(struct stack *s)
{
    unsigned n = count_get(&local.n_free) + 1;

    if (unlikely(!local.registered)) {
        pool_register();
    }
    ASAN_POISON_MEMORY_REGION(s->bottom, stack_size(s));
    s->next = local.free;
    local.free = s;
    count_set(&local.n_free, n);
    if (unlikely(n == STACK_BATCH)) {
        pool_shed();
    }
}

void co_pool_flush(void)
{
    global_give(local.spare, count_get(&local.n_spare));
    global_give(local.free, count_get(&local.n_free));
    local.spare = local.free = NULL;
    count_set(&local.n_spare, 0);
    count_set(&local.n_free, 0);
}

static void pool_exit(void *opaque)
{
    co_pool_flush();
    pthread_mutex_lock(&global.lock);
    list_del(&local.link);
    pthread_mutex_unlock(&global.lock);
    local.registered = false;
}

void co_pool_stats(struct co_pool_stats *ret)
{
    struct pool *p;

    pthread_once(&global.once, global_init);
    ret->created = atomic_load(&global.created);
    ret->cap = global.cap;
    pthread_mutex_lock(&global.lock);
    ret->pooled = global.n_stacks;
    list_for_each(p, &global.pools, link) {
        ret->pooled += count_get(&p->n_free) + count_get(&p->n_spare);
    }
    pthread_mutex_unlock(&global.lock);
}
