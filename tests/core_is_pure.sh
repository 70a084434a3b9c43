#!/bin/sh
# The core links with libc alone, uses nothing of it that reads a clock, a file or a random number, and includes
# nothing else. TAP.
#
# Run by `make check` in the build directory; srcdir, CC, NM come from there.

srcdir=${srcdir:-.}
CC=${CC:-cc}
NM=${NM:-nm}
core=$srcdir/relay/core
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT

count=0
result() { # status, what
	count=$((count + 1))
	if [ "$1" -eq 0 ]; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}

# What the core may want of libc. The checked forms of these come from _FORTIFY_SOURCE; where only the equality is asked for, clang
# makes bcmp of memcmp.
functions='memcpy memmove memset memcmp strlen strcmp calloc malloc realloc free abort qsort bsearch __assert_fail'
compiler='bcmp __stack_chk_fail __memcpy_chk __memmove_chk __memset_chk _GLOBAL_OFFSET_TABLE_'
headers='assert errno inttypes limits stdalign stdbool stddef stdint stdlib string'

# A mutant that is built in asks a variable of the test program (core/mutant.h).
! $NM libcore.a | grep -i mutant
result $? 'no mutant is built in'

if [ -n "${SANITIZED-}" ]; then
	echo "ok 2 - # SKIP a sanitizer's runtime is linked in"
	echo "ok 3 - # SKIP a sanitizer's runtime is linked in"
	count=3
else
	echo 'int main(void) { return 0; }' > "$tmp/main.c"
	$CC -nodefaultlibs -o "$tmp/main" "$tmp/main.c" -Wl,--whole-archive libcore.a -Wl,--no-whole-archive -lc > "$tmp/log" 2>&1
	status=$?
	sed 's/^/# /' "$tmp/log"
	result $status 'libcore.a links with libc alone'

	defined=$($NM -g libcore.a | awk 'NF == 3 { print $3 }')
	foreign=$($NM -u libcore.a | awk 'NF == 2 { print $2 }' | sort -u)
	status=0
	for symbol in $foreign; do
		case " $(echo $defined) $functions $compiler " in
		*" $symbol "*) ;;
		*) echo "# libcore.a uses $symbol"; status=1 ;;
		esac
	done
	result $status 'it uses nothing but memory functions, assert and abort'
fi

find "$core" -name '*.[ch]' -exec grep -nHE '^[[:space:]]*#[[:space:]]*include' {} + > "$tmp/includes"
status=0
while IFS= read -r line; do
	name=$(echo "$line" | sed -E 's/.*include[[:space:]]*[<"]([^>"]*)[>"].*/\1/')
	case $line in
	*'"core/'*) [ -f "$srcdir/relay/$name" ] && continue ;;
	*'<'*) case " $headers " in *" ${name%.h} "*) continue ;; esac ;;
	esac
	echo "# $line"
	status=1
done < "$tmp/includes"
result $status 'it includes nothing but core/ and headers of the C standard without input, output or time'

[ -s "$tmp/includes" ]
result $? 'there was something to look at'

echo "1..$count"
