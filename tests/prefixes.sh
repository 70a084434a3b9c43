#!/bin/sh
# Where does this function live? Its name says it: it begins with its file's name (`cuts_sent`, in flow/cuts.c), or with the
# family's, which is what stands before an underscore in it (`pg_rows`, in edge/pg_result.c). TAP.
#
# Run by `make check` in the build directory; NM and OBJECTS (what the program is linked of) come from there.

NM=${NM:-nm}

# Names that others may use: file, name. What begins with two underscores is the compiler's.
names=$($NM -A -g --defined-only $OBJECTS | awk 'NF == 3 && $3 !~ /^__/ {
	n = split($1, part, ":")
	file = part[n - 1]
	sub(/^.*relay\//, "", file)
	sub(/lib[a-z]*_a-/, "", file)
	sub(/\.o$/, "", file)
	print file, $3
}')

# A table's plural is its members' family. The commands themselves are `command_...`, whatever their file is called.
bad=$(printf '%s\n' "$names" | awk '
	function begins(name, stem) {
		return name == stem || index(name, stem "_") == 1
	}
	{
		file = $1
		if (file ~ /^command\// && begins($2, "command"))
			next
		sub(/^.*\//, "", file)
		for (stem = file; stem != ""; ) {
			single = stem
			sub(/s$/, "", single)
			if (begins($2, stem) || begins($2, single))
				next
			if (!sub(/_[^_]*$/, "", stem))
				break
		}
		print $1 ".c: " $2
	}' | grep -v '^command/line.c: value_name$')

if [ "$(printf '%s\n' "$names" | wc -l)" -lt 300 ]; then
	echo 'not ok 1 - names that others may use begin with their file'
	echo "# $(printf '%s\n' "$names" | wc -l) names are not all there are"
elif [ -n "$bad" ]; then
	echo 'not ok 1 - names that others may use begin with their file'
	printf '%s\n' "$bad" | sed 's/^/# /'
else
	echo 'ok 1 - names that others may use begin with their file'
fi
echo 1..1
