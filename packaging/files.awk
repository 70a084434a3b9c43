# Builds files into the program: makes the C file of `list` (books/sql_files, watch/page_files), an array of that name. What
# the elements are, and what it is for, stands in the header of that name. A number before a file's name is its version; the
# last one of its row in boxhaul.schema_version, where it has three, what it serves.

function end_of_file() {
	if (serves != "")
		printf "\t\t\t,\n\t\t.serves = %d,\n", serves
	serves = ""
	print "\t},"
}

FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	if (NR == 1) {
		array = list
		sub(/.*\//, "", array)
		type = array
		sub(/s$/, "", type)
		print "/* Made by packaging/files.awk. */"
		printf "#include \"%s.h\"\n\nconst struct %s %s[] = {\n", list, type, array
	} else {
		end_of_file()
	}
	print "\t{"
	if (name ~ /^[0-9]+_/) {
		printf "\t\t.version = %d,\n", name
		sub(/^[0-9]+_/, "", name)
		sub(/\.sql$/, "", name)
	}
	printf "\t\t.name = \"%s\",\n\t\t.text =\n", name
}

/^INSERT INTO boxhaul\.schema_version \(version, name, serves\) VALUES \([0-9]+, '[^']*', [0-9]+\)/ {
	serves = $0
	sub(/.*, /, "", serves)
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
	end_of_file()
	print "\t{ .name = NULL },\n};"
}
