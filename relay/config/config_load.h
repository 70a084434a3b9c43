/* From a file to a configuration. The parser and its errors walk the table of settings. Syntax is libconfig's:
 * name = value; groups in braces, lists in parentheses. */
#ifndef BOXHAUL_CONFIG_CONFIG_LOAD_H
#define BOXHAUL_CONFIG_CONFIG_LOAD_H

#include <stdio.h>

#include "config/config.h"

/* Reads and checks a file ("-": stdin), with the two layers about it (layers.h). Returns NULL after writing EVERY error found to `errors`, one per line, each
 * "file:line: what is wrong and what to do", or with the name of a variable in front. Warnings (a world-readable file with a password in it) go there
 * too and do not make it fail. The result belongs to the caller. */
struct config *config_load(const char *path, FILE *errors);

#endif
