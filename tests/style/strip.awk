# Prints file:line:text of C sources with comments blanked and strings and characters emptied, so that a rule about
# code does not stumble over prose.  With -v strings=1 the contents of strings stay.
FNR == 1 { in_comment = 0 }
{
        out = ""
        n = length($0)
        quote = ""
        for (i = 1; i <= n; i++) {
                two = substr($0, i, 2)
                c = substr($0, i, 1)
                if (in_comment) {
                        if (two == "*/") {
                                in_comment = 0
                                i++
                        }
                } else if (quote != "") {
                        if (strings)
                                out = out c
                        if (c == "\\") {
                                i++
                                if (strings)
                                        out = out substr($0, i, 1)
                        } else if (c == quote) {
                                quote = ""
                                if (!strings)
                                        out = out c
                        }
                } else if (two == "/*") {
                        in_comment = 1
                        out = out " "
                        i++
                } else if (two == "//") {
                        break
                } else {
                        if (c == "\"" || c == "'")
                                quote = c
                        out = out c
                }
        }
        print FILENAME ":" FNR ":" out
}
