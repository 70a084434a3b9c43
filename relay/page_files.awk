# Makes relay/page_files.c of the files of relay/page/.

FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	if (NR == 1)
		print "/* Made from relay/page/ by relay/page_files.awk. */\n#include \"page_files.h\"\n\nconst struct page_file page_files[] = {"
	else
		print "\t},"
	printf "\t{\n\t\t.name = \"%s\",\n\t\t.text =\n", name
}

{
	# Every character by itself, as in sql_files.awk.
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
