/* SPDX-License-Identifier: MIT */
/*
 * driver: the driver "qcow2", for whoever registers drivers.  It takes the
 * options
 *
 *   l2-cache-size          bytes of L2 tables kept in memory; default 32M
 *   refcount-cache-size    of refcount blocks; default 4 clusters, or 256K
 *   cache-size             of both together
 *   l2-cache-entry-size    how much of a table is read at once; default 4K
 *   cache-clean-interval   seconds; what was not used for so long is dropped
 *                          from both; default 0: never.  The node is then
 *                          closed on the loop that opened it
 *   lazy-refcounts         on or off; default: as the image says
 *   pass-discard-request   tell the host of what guests discard; default: if
 *                          opened with NODE_UNMAP
 *   pass-discard-snapshot  of clusters that deleted snapshots held; default on
 *   pass-discard-other     of those that were replaced; default off.  What
 *                          the end of a disk held that is cut off is always
 *                          passed
 *   overlap-check          which tables are guarded against being written
 *                          over: none, constant (those that seldom move),
 *                          cached (all that are known anyway; the default) or
 *                          all (L2 tables of snapshots, which are read for
 *                          that, too); each on its own with .main-header,
 *                          .active-l1, .active-l2, .refcount-table,
 *                          .refcount-block, .snapshot-table, .inactive-l1,
 *                          .inactive-l2, .bitmap-directory
 *   backing                empty: open no backing file
 *   backing.filename, …    options of the backing file instead of what the
 *                          image says
 *   data-file.filename, …  the same for the external data file
 */
#ifndef FORMAT_QCOW2_DRIVER_H
#define FORMAT_QCOW2_DRIVER_H

struct driver;

extern const struct driver driver_qcow2;

#endif /* FORMAT_QCOW2_DRIVER_H */
