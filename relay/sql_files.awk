# Makes relay/sql_files.c of the files of sql/, given in ascending order.

FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.sql$/, "", name)
	version = name
	sub(/_.*/, "", version)
	sub(/^[0-9]*_/, "", name)
	if (NR == 1) {
		print "/* Made from sql/ by relay/sql_files.awk. */"
		print "#include \"sql_files.h\"\n"
		print "const struct sql_file sql_files[] = {"
	} else {
		print "\t},"
	}
	printf "\t{\n\t\t.version = %d,\n\t\t.name = \"%s\",\n\t\t.text =\n", version, name
	files++
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
	if (files == 0)
		exit 1
	print "\t},\n};\n"
	print "const size_t sql_file_count = sizeof sql_files / sizeof sql_files[0];"
}
