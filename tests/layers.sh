#!/bin/sh
# Includes point down, no module comes back to itself, every foreign header has one address, and some functions are not
# called at all. TAP.

srcdir=${srcdir:-.}
cd "$srcdir" || exit 99

# The floors, from the ground up. A file may include what stands in its own folder or on a floor below. Inside a folder there
# is no order, but no cycle either: a module is a .c and its .h, and no module may come back to itself.
floors='base core format edge config books flow watch command run'

floor() { # a path below relay/: its number, or nothing
	case $1 in */*) ;; *) echo 99; return ;; esac # main.c, above all
	n=0
	for f in $floors; do
		n=$((n + 1))
		case $1 in "$f"/*) echo $n; return ;; esac
	done
}

count=0
result() { # lines of complaint, what
	count=$((count + 1))
	if [ -z "$1" ]; then
		echo "ok $count - $2"
	else
		echo "not ok $count - $2"
		printf '%s\n' "$1" | sed 's/^/# /'
	fi
}

files=$(find relay -name '*.[ch]' ! -name sql_files.c ! -name page_files.c | sort)

includes() { # file: the name in each include in quotes
	sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$1"
}

bad=$(for f in $files; do
	[ -n "$(floor "${f#relay/}")" ] || echo "$f stands on no floor: its folder is not in tests/layers.sh"
done
for f in relay/*; do
	case $f in relay/main.c | relay/README.md | *.o) ;; *) [ -d "$f" ] || echo "$f lies loose: it belongs in a folder" ;; esac
done)
result "$bad" 'every file stands on a floor, and only main.c and README.md beside the folders'

bad=$(for f in $files; do
	me=${f#relay/}
	for name in $(includes "$f"); do
		[ -f "relay/$name" ] || { echo "$f: there is no relay/$name"; continue; }
		theirs=$(floor "$name") mine=$(floor "$me")
		[ "${theirs:-99}" -le "${mine:-0}" ] || echo "$f includes $name, which is not below it"
	done
done)
result "$bad" 'includes point down'

# tsort complains of every cycle, and names its members.
bad=$(for f in $files; do
	me=${f#relay/}
	for name in $(includes "$f"); do
		[ "${me%.[ch]}" = "${name%.h}" ] || echo "${me%.[ch]} ${name%.h}"
	done
done | tsort 2>&1 >/dev/null)
result "$bad" 'no cycle of modules'

# A function bears its file's name (tests/prefixes.sh), so that one says where it lives.
bad=$(for f in $files; do basename "$f"; done | sort | uniq -d)
result "$bad" 'no two modules of one name'

bad=$(for f in $(find relay/core -name '*.[ch]'); do
	for name in $(includes "$f"); do
		case $name in core/*) ;; *) echo "$f includes $name" ;; esac
	done
done)
result "$bad" 'core/ includes nothing but core/'

# The lead, the sender and the reader of the outbox are wired together by delivery.c alone.
strangers() { # files (a pattern of find), headers they do not know (a pattern)
	find relay/core -path "$1" | while read -r f; do
		for name in $(includes "$f"); do
			case $name in core/delivery.h) echo "$f includes $name" ;; esac
			case $name in $2) echo "$f includes $name" ;; esac
		done
	done
}
bad=$(strangers 'relay/core/send/*' 'core/outbox/*'
	strangers 'relay/core/send/*' 'core/lead.h'
	strangers 'relay/core/outbox/*' 'core/lead.h'
	strangers 'relay/core/lead.?' 'core/[so]*/*')
result "$bad" 'the parts of the core do not know what stands above or beside them'

bad=$(for f in relay/core/*.[ch] relay/core/outbox/*.[ch]; do
	for name in $(includes "$f"); do
		case $name in core/send/send.h | core/send/outcome.h) continue ;; core/send/*) echo "$f includes $name" ;; esac
		case $f,$name in relay/core/outbox/*,* | *,core/outbox/outbox.h) ;; *,core/outbox/*) echo "$f includes $name" ;; esac
	done
done)
result "$bad" 'nothing more is known of the sender and of the reader than their faces'

bad=$(for f in relay/edge/*.[ch]; do
	[ -f "$f" ] || continue
	for name in $(includes "$f"); do
		case $name in core/* | config/* | format/*) echo "$f includes $name: an edge knows no domain word" ;; esac
	done
done)
result "$bad" 'edge/ includes nothing of the domain'

lives_in() { # header, where (a pattern of case)
	bad=$(grep -lE "^[[:space:]]*#[[:space:]]*include[[:space:]]*<($1)>" $files | while read -r f; do
		eval "case \$f in $2) ;; *) echo \"\$f includes $1\" ;; esac"
	done)
	result "$bad" "$1 is included by $2 only"
}

lives_in 'libpq-fe\.h|libpq/.*' 'relay/edge/pg*'
lives_in 'nats\.h|nats/.*' 'relay/edge/natsio*'
# One signs, the other takes digests: each is a file of its own, and no floor may hold both.
lives_in 'openssl/.*' 'relay/edge/nkey.? | relay/format/capture_identity.?'
lives_in 'microhttpd\.h' 'relay/edge/http.?'
lives_in 'ev\.h|libev/.*' 'relay/edge/*'
lives_in 'libconfig\.h' 'relay/config/layers.h'

banned='strcpy|strcat|stpcpy|sprintf|vsprintf|atoi|atol|atoll|atof|gets|strtok|strncpy|alloca|gmtime|localtime|ctime|asctime|system|popen'
bad=$(grep -nE "(^|[^A-Za-z0-9_])($banned)[[:space:]]*\(" $(find relay tests -name '*.[ch]') /dev/null)
result "$bad" 'no call that is banned'

# A lease must run out while the machine sleeps, and no hand on the wall clock may stretch it. (systemd wants to be told
# the time by its own clock.)
bad=$(grep -nE 'CLOCK_MONOTONIC|gettimeofday|[^_a-z]time\(NULL\)|ev_(now|time)\(' $files |
	grep -vE '^relay/edge/notify\.c:.*CLOCK_MONOTONIC')
result "$bad" 'no clock that stops while the machine is suspended'
bad=$(grep -nE 'CLOCK_REALTIME' $files | grep -vE '^relay/(base/log|edge/natsio_events)\.c:')
result "$bad" 'the wall clock is for the log, and for a wait of pthreads'

echo "1..$count"
