#!/bin/sh
# Includes point down, siblings do not know each other, every foreign header has one address, and some functions
# are not called at all. TAP.

srcdir=${srcdir:-.}
cd "$srcdir" || exit 99

# The floor of each file, from the ground up. A file may include its own header and what stands on a lower floor; two
# on one floor are siblings. What the core is to the outside (delivery.h) lies below its parts, which speak in the
# same words; what holds the parts together (delivery.c) above them.
floor() { # a path below relay/
	case $1 in
	core/limits.h | core/refusal.? | core/sequences.?) echo 1 ;;
	core/delivery.h) echo 2 ;;
	core/lane.? | core/pace.? | core/position.?) echo 3 ;;
	core/block.?) echo 4 ;;
	core/machine.h) echo 5 ;;
	core/machine.c | core/holding.c | core/sending.c | core/tail.c | core/reading.c | core/marking.c) echo 6 ;;
	core/delivery.c) echo 7 ;;
	hex.h | utf8.h | sql_files.h | page_files.h | exits.h | failpoint.?) echo 10 ;;
	message.? | log.? | puback.? | stored.? | secret.? | histogram.? | process.?) echo 11 ;;
	envelope.? | config.h | settings.h) echo 12 ;;
	settings.c | settings_sample.c | setting_value.c | config_check.h) echo 13 ;;
	config.c | config_check.c) echo 14 ;;
	edge/loop.? | edge/natsio_options.h | edge/nkey.?) echo 20 ;;
	edge/pg.h | edge/natsio_login.? | edge/natsio_servers.? | edge/natsio_spent.? | edge/http.? | edge/notify.?) echo 21 ;;
	edge/pg_login.? | edge/natsio.? | edge/natsio_session.?) echo 22 ;;
	edge/pg.c) echo 23 ;;
	ledger.? | api.? | servers.? | parcel.h) echo 30 ;;
	source.? | publisher.? | tail.? | leader.? | note.? | reload.? | backlog.?) echo 40 ;;
	health.h) echo 41 ;;
	metrics.? | page.? | command/command.h) echo 42 ;;
	health.c | command/line.? | command/out.? | command/ask.? | command/port.? | command/session.? | command/walk.? | command/wanted.?) echo 43 ;;
	command/help.? | command/look.? | command/seek.?) echo 44 ;;
	command/commands.h | command/verdict.? | progress.? | service.?) echo 45 ;;
	relay.? | command/*.c) echo 50 ;;
	main.c) echo 60 ;;
	esac
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
	[ -n "$(floor "${f#relay/}")" ] || echo "$f has no floor: give it one in tests/layers.sh"
done)
result "$bad" 'every file has a floor'

bad=$(for f in $files; do
	me=${f#relay/}
	for name in $(includes "$f"); do
		[ -f "relay/$name" ] || { echo "$f: there is no relay/$name"; continue; }
		[ "${me%.c}.h" = "$name" ] && continue
		theirs=$(floor "$name") mine=$(floor "$me")
		[ "${theirs:-99}" -lt "${mine:-0}" ] || echo "$f includes $name, which is not below it"
	done
done)
result "$bad" 'includes point down, and siblings do not include each other'

bad=$(for f in relay/core/*.[ch]; do
	for name in $(includes "$f"); do
		case $name in core/*) ;; *) echo "$f includes $name" ;; esac
	done
done)
result "$bad" 'core/ includes nothing but core/'

bad=$(for f in relay/edge/*.[ch]; do
	[ -f "$f" ] || continue
	for name in $(includes "$f"); do
		case $name in core/* | ledger.h | message.h) echo "$f includes $name: an edge knows no domain word" ;; esac
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
lives_in 'openssl/.*' 'relay/edge/nkey.?'
lives_in 'microhttpd\.h' 'relay/edge/http.?'
lives_in 'ev\.h|libev/.*' 'relay/edge/*'
lives_in 'libconfig\.h' 'relay/config_check.h'

banned='strcpy|strcat|stpcpy|sprintf|vsprintf|atoi|atol|atoll|atof|gets|strtok|strncpy|alloca|gmtime|localtime|ctime|asctime|system|popen'
bad=$(grep -nE "(^|[^A-Za-z0-9_])($banned)[[:space:]]*\(" $(find relay tests -name '*.[ch]') /dev/null)
result "$bad" 'no call that is banned'

# A lease must run out while the machine sleeps, and no hand on the wall clock may stretch it. (systemd wants to be told
# the time by its own clock.)
bad=$(grep -nE 'CLOCK_MONOTONIC|gettimeofday|[^_a-z]time\(NULL\)|ev_(now|time)\(' $files |
	grep -vE '^relay/edge/notify\.c:.*CLOCK_MONOTONIC')
result "$bad" 'no clock that stops while the machine is suspended'
bad=$(grep -nE 'CLOCK_REALTIME' $files | grep -vE '^relay/(log|edge/natsio)\.c:')
result "$bad" 'the wall clock is for the log, and for a wait of pthreads'

echo "1..$count"
