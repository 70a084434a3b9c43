#!/bin/sh
# A program that is shipped has no failpoints: neither their code nor their words. In a build that was asked for them they
# are there, so this test sees what it looks for. TAP.
#
# Run by `make check` in the build directory; NM, FAILPOINTS (what configure was asked for) and OBJECTS (what the program is
# linked of: it may itself have been linked without symbols, as for the rpm) come from there.

NM=${NM:-nm}
word=BOXHAUL_FAILPOINT

symbols=$($NM $OBJECTS | grep -c ' .*failpoint')
words=$(grep -ac $word boxhaul)
BOXHAUL_FAILPOINT=nothing=kill ./boxhaul failpoints >/dev/null 2>&1
status=$?
echo "# $symbols symbols, $words lines with $word, \`boxhaul failpoints\` ends with $status"

if [ "${FAILPOINTS-}" = yes ]; then
	[ "$symbols" -gt 0 ] && [ "$words" -gt 0 ] && [ $status = 0 ]
else
	$NM $OBJECTS | grep -q main && [ "$symbols" = 0 ] && [ "$words" = 0 ] && [ $status = 2 ]
fi
if [ $? = 0 ]; then echo 'ok 1 - failpoints as configured'; else echo 'not ok 1 - failpoints as configured'; fi
echo 1..1
