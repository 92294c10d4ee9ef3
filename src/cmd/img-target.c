/* SPDX-License-Identifier: MIT */

#include "cmd/img-target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/same_file.h"
#include "block/node.h"
#include "cmd/img.h"

int img_check_target(const char *target, const struct node *source)
{
    if (same_file(node_filename(source), target)) {
        return cmd_fail("%s: is the source and the target; give the target "
                        "another name",
                        target);
    }
    if (node_uses_file(source, target)) {
        return cmd_fail("%s: is below the source, %s, which needs it; give the "
                        "target another name",
                        target, node_filename(source));
    }
    return -1;
}

int co_fn img_co_create(const struct create_request *rq)
{
    struct create_plan plan;
    GError *err = NULL;
    int rc = create_co_plan(rq, &plan, &err); /* yields */

    if (rc == 0) {
        rc = create_co_run(&plan, &err); /* yields */
        create_plan_fini(&plan);
    }
    return rc < 0 ? img_fail(err) : -1;
}

/* The source that has what goes to @offset, and where it is in it. */
static const struct convert_source *find_source(
    const struct convert_request *rq, int64_t *offset)
{
    const struct convert_source *s = rq->sources;

    while (s < rq->sources + rq->n_sources - 1 && *offset >= s->bytes) {
        *offset -= s->bytes;
        s++;
    }
    *offset += s->offset;
    return s;
}

int img_explain_copy(const struct convert_request *rq, const char *target,
                     const struct convert_result *r)
{
    const char *why = g_strerror(-r->rc);
    int64_t offset = r->offset;
    const char *source;

    if (r->rc == -ECANCELED) {
        return cmd_fail("stopped by a signal");
    }
    if (r->step == CONVERT_WRITE) {
        return cmd_fail("%s: error while writing at byte %" PRId64 ": %s",
                        target, offset, why);
    }
    if (r->step == CONVERT_OTHER) {
        return cmd_fail("%s: cannot be copied to: %s", target, why);
    }
    source = node_filename(find_source(rq, &offset)->node);
    return cmd_fail("%s: error while %s at byte %" PRId64 ": %s", source,
                    r->step == CONVERT_READ ? "reading" : "looking for data",
                    offset, why);
}

void img_remove_target(const char *target)
{
    char *real = realpath(target, NULL);
    struct stat st;

    if (real && stat(real, &st) == 0 && S_ISREG(st.st_mode) &&
        unlink(real) < 0) {
        img_warn("%s: is not complete, and cannot be removed: %s", target,
                 g_strerror(errno));
    }
    free(real);
}
