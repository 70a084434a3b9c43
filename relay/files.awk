# Builds files into the program: makes the C file of `list` (sql_files, page_files), an array of that name. What the elements
# are, and what it is for, stands in the header of that name. A number before a file's name is its version.

FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	if (NR == 1) {
		type = list
		sub(/s$/, "", type)
		print "/* Made by relay/files.awk. */"
		printf "#include \"%s.h\"\n\nconst struct %s %s[] = {\n", list, type, list
	} else {
		print "\t},"
	}
	print "\t{"
	if (name ~ /^[0-9]+_/) {
		printf "\t\t.version = %d,\n", name
		sub(/^[0-9]+_/, "", name)
		sub(/\.sql$/, "", name)
	}
	printf "\t\t.name = \"%s\",\n\t\t.text =\n", name
}

{
	# Every character by itself: what gsub makes of a backslash is not the same in every awk. A ? is escaped because two
	# of them begin a trigraph.
	out = ""
	for (i = 1; i <= length($0); i++) {
		c = substr($0, i, 1)
		out = out (c == "\\" || c == "\"" || c == "?" ? "\\" c : c == "\t" ? "\\t" : c)
	}
	printf "\t\t\t\"%s\\n\"\n", out
}

END {
	if (NR == 0)
		exit 1
	print "\t},\n\t{ .name = NULL },\n};"
}
