/* SPDX-License-Identifier: MIT */
/*
 * img-target: the image that convert and dd copy into.
 *
 * What is not whole must not look whole: a target that was made and could not
 * be filled is removed.  Functions that return a status return -1 to go on, or
 * the exit status after a message.
 */
#ifndef CMD_IMG_TARGET_H
#define CMD_IMG_TARGET_H

#include "co/co.h"
#include "tool/convert.h"
#include "tool/create.h"

struct node;

/* Refuses a target that @source, or a file below it, is read from: it would be
 * emptied first. */
int img_check_target(const char *target, const struct node *source);

/* Makes the image. */
int co_fn img_co_create(const struct create_request *rq);

/* Tells which file failed where; @r->rc is not 0.  Returns the exit status. */
int img_explain_copy(const struct convert_request *rq, const char *target,
                     const struct convert_result *r);

/* Removes the file @target, or what it is a link to; devices stay. */
void img_remove_target(const char *target);

#endif /* CMD_IMG_TARGET_H */
