/* SPDX-License-Identifier: GPL-2.0 */
#include "task.h"
char _license[] SEC("license") = "GPL";
const struct connection_event *anchor_connection __attribute__((unused));
const struct packet_event *anchor_packet __attribute__((unused));
