"""The cases: SQL that both a ClickHouse and Tally evaluate. Every case is one query with one column per value."""

import itertools
import random

NULL = "NULL"


def text(value):
    """A text as a literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return f"'{escaped}'"


TEXTS = ["", "a", "Hello, World", "  padded  ", "ÄÖÜ straße", "日本語テキスト", "a\nb\tc", "x'y\\z", "naïve café", "UPPER lower 123", "😀 smile"]
URLS = [
    "", "http://example.com", "https://www.example.com/", "https://example.com/a/b?x=1&y=2#frag", "http://user:pw@example.co.uk:8080/p?q#f",
    "//cdn.example.org/lib.js", "example.com/path", "/only/path?x=1", "mailto:a@b.com", "http://127.0.0.1:3000/a", "http://[::1]/x",
    "https://www.sub.domain.example.com/a%20b/%D0%BF?utm_source=news&utm_medium=e+mail&empty=&flag#x=1&y=2", "ftp://files.example.com",
    "http://example.com?x=1", "http://example.com#f?x=1", "https://example.com/?a=1?b=2", "HTTP://EXAMPLE.COM/UP", "http://a.b.c.d.e.com.uk/z",
    "http://localhost/x", "http://example.com:/x", "http://example.com:99999/x", "https://пример.рф/путь", "http://www.com", "http://example.com/;k=v?a=b;c=d",
    "http://example.com/a?x=1&x=2&xx=3", "http://example.com/a?xx=3&x=", "https://example.com./a", "not a url", "http://", "http:///x", "a=b&c=d", "?x=1", "#x=1",
    "http://www.example.com:80/?page=1&user=2#top", "https://co.uk/", "http://WWW.example.com/", "http://example.com/a//b/?q", "svn+ssh://host.example.com/repo",
]
JSONS = [
    "", "{}", "[]", "null", "true", "1", '"s"', "not json", '{"a":1,"b":"x","c":null,"d":true,"e":1.5,"f":[1,"two",3.5,null],"g":{"h":{"i":"deep"}}}',
    '{"a":-5,"big":18446744073709551615,"neg":-9223372036854775808,"exp":1e3,"text":"12","bad":"12x"}', '{ "a" : "sp aced" , "b" : [ 1 , 2 ] }',
    '{"a":"quote \\" and \\u00e9 \\n","é":"key"}', '[{"x":1},{"x":2}]', '{"a":1,"a":2}', '{"a":[[1,2],[3]]}', '{"a":1', '{"a":false,"b":0,"c":"","d":"true"}', '{"id":"007","price":12.50}',
]
DATES = ["1970-01-01", "1999-12-31", "2000-02-29", "2020-01-01", "2021-01-03", "2023-03-26", "2024-02-29", "2024-12-30", "2026-10-25"]
INSTANTS = [
    "1970-01-01 00:00:00", "2000-02-29 23:59:59", "2020-01-01 00:00:00", "2021-03-28 00:59:59", "2021-03-28 01:00:00", "2021-10-31 00:30:00",
    "2021-10-31 01:30:00", "2023-06-15 12:34:56", "2024-12-30 23:00:01", "2026-11-01 06:30:00", "2024-03-10 07:30:00",
]
FINE = ["2023-06-15 12:34:56.789123", "2024-01-01 00:00:00.000001", "1999-12-31 23:59:59.999999"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]


def cases():
    """All cases as (family, SQL)."""
    made = []

    def add(family, expr):
        made.append((family, f"SELECT {expr} AS v"))

    def column(family, function, values, *more):
        """The same function over a column: the path that rows take."""
        rest = "".join(f", {one}" for one in more)
        made.append((family, f"SELECT {function}(x{rest}) AS v FROM (SELECT arrayJoin([{', '.join(values)}]) AS x)"))

    conditions(add)
    dates(add, column)
    conversions(add, column)
    texts(add, column)
    urls(add, column)
    jsons(add, column)
    hashes(add)
    lists(add)
    arithmetic(add)
    for family, sql in aggregates() + syntax() + funnels() + random_urls():
        made.append((family, sql))
    seen = set()
    return [case for case in made if not (case[1] in seen or seen.add(case[1]))]


def conditions(add):
    f = "conditions"
    for c in ["1", "0", "NULL", "2 > 1", "toUInt8(0)", "0.5"]:
        add(f, f"if({c}, 'yes', 'no')")
        add(f, f"{c} ? 1 : 2")
        add(f, f"multiIf({c}, 1, 0, 2, 3)")
        add(f, f"NOT {c}")
        for d in ["1", "0", "NULL"]:
            add(f, f"{c} AND {d}")
            add(f, f"{c} OR {d}")
            add(f, f"xor({c}, {d})" if "0.5" not in (c, d) else f"or({c}, {d})")
    for a, b in itertools.product(["NULL", "1", "0", "toNullable(5)"], repeat=2):
        add(f, f"ifNull({a}, {b})")
        add(f, f"nullIf({a}, {b})")
        add(f, f"coalesce({a}, {b}, 7)")
        add(f, f"{a} = {b}")
        add(f, f"{a} != {b}")
        add(f, f"{a} <= {b}")
    for a in ["NULL", "1", "''", "'x'", "toNullable(0)"]:
        for g in ["isNull", "isNotNull", "toNullable", "materialize"]:
            add(f, f"{g}({a})")
        add(f, f"{a} IS NULL")
    for a in ["NULL", "0", "1", "toNullable(0)"]:
        add(f, f"isZeroOrNull({a})")
    for a in ["CAST(NULL AS Nullable(String))", "CAST(NULL AS Nullable(Int32))", "toNullable('x')", "5"]:
        add(f, f"assumeNotNull({a})")
    for a in ["(1, 2, 3)", "(3, 1, 2)", "('a', 'B', 'c')", "(1.5, 2, -1)"]:
        inner = a.strip("()")
        add(f, f"greatest({inner})")
        add(f, f"least({inner})")
    for a in ["1 IN (1, 2)", "3 IN (1, 2)", "'a' IN ('a', 'b')", "3 NOT IN (1, 2)", "(1, 'a') IN ((1, 'a'), (2, 'b'))", "(1, 'c') IN ((1, 'a'), (2, 'b'))", "in(1, (1, 2))", "notIn(1, (1, 2))", "1 == 1", "1 <> 2", "equals(1, 1)", "notEquals(1, 2)", "less(1, 2)", "greater(1, 2)", "lessOrEquals(2, 2)", "greaterOrEquals(1, 2)", "and(1, 1, 0)", "or(0, 0, 1)", "not(0)", "5 BETWEEN 1 AND 10", "CASE WHEN 1 THEN 'a' ELSE 'b' END", "CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "CASE WHEN 0 THEN 1 END", "true", "false", "true AND 1", "(2 > 1) = 1", "(2 > 1) + (3 > 2)", "1 = 1 ? 'a' : 2 = 2 ? 'b' : 'c'", "0 ? 'a' : 0 ? 'b' : 'c'", "defaultValueOfArgumentType('x')", "defaultValueOfArgumentType(toInt32(5))"]:
        add(f, a)


def dates(add, column):
    f = "dates"
    starts = ["toStartOfMinute", "toStartOfFiveMinutes", "toStartOfTenMinutes", "toStartOfFifteenMinutes", "toStartOfHour", "toStartOfDay", "toMonday", "toStartOfMonth", "toStartOfQuarter", "toStartOfYear", "toStartOfISOYear", "toLastDayOfMonth"]
    parts = ["toYear", "toQuarter", "toMonth", "toDayOfMonth", "toDayOfYear", "toHour", "toMinute", "toSecond", "toISOWeek", "toISOYear", "toYYYYMM", "toYYYYMMDD", "toYYYYMMDDhhmmss", "toUnixTimestamp", "toRelativeYearNum", "toRelativeMonthNum"]
    for function in starts + parts + ["toStartOfWeek", "toDayOfWeek", "toDate", "toString"]:
        extra = {"toStartOfWeek": ", 0", "toDayOfWeek": ", 0"}.get(function, "")
        for number, instant in enumerate(INSTANTS):
            add(f, f"{function}(toDateTime('{instant}'))")
            zone = ZONES[number % len(ZONES)]
            add(f, f"{function}(toDateTime('{instant}'){extra}, '{zone}')")
        add(f, f"{function}(toDateTime('2021-03-28 12:00:00', 'Europe/Berlin'))")
        add(f, f"{function}(CAST(NULL AS Nullable(DateTime)))")
        column(f, function, [f"toDateTime('{instant}')" for instant in INSTANTS])
    for function in ["toMonday", "toStartOfMonth", "toStartOfQuarter", "toStartOfYear", "toStartOfISOYear", "toLastDayOfMonth", "toYear", "toQuarter", "toMonth", "toDayOfMonth", "toDayOfYear", "toDayOfWeek", "toStartOfWeek", "toISOWeek", "toISOYear", "toWeek", "toYearWeek", "toYYYYMM", "toYYYYMMDD", "toString", "toRelativeDayNum", "toStartOfDay"]:
        for date in DATES:
            add(f, f"{function}(toDate('{date}'))")
    for mode in range(10):
        for date in ["2020-01-01", "2021-01-03", "2024-12-30", "2023-06-15", "2016-01-01"]:
            add(f, f"toWeek(toDate('{date}'), {mode})")
            add(f, f"toYearWeek(toDate('{date}'), {mode})")
            add(f, f"toStartOfWeek(toDate('{date}'), {mode})")
            if mode < 4:
                add(f, f"toDayOfWeek(toDate('{date}'), {mode})")
    for count, unit in [(1, "second"), (15, "SECOND"), (1, "minute"), (7, "minute"), (15, "MINUTE"), (1, "hour"), (2, "HOUR"), (3, "hour"), (6, "hour"), (12, "hour"), (1, "day"), (3, "DAY"), (1, "week"), (2, "week"), (1, "month"), (2, "month"), (5, "month"), (1, "quarter"), (2, "quarter"), (1, "year"), (3, "YEAR"), (10, "year")]:
        for number, instant in enumerate(INSTANTS[2::2]):
            add(f, f"toStartOfInterval(toDateTime('{instant}'), INTERVAL {count} {unit})")
            zone = ZONES[(number + count) % 4]
            add(f, f"toStartOfInterval(toDateTime('{instant}'), INTERVAL {count} {unit}, '{zone}')")
        add(f, f"toDateTime('2024-01-31 12:00:00') + INTERVAL {count} {unit}")
        add(f, f"toDateTime('2024-03-31 12:00:00') - INTERVAL {count} {unit}")
        add(f, f"toDateTime('2024-01-31 12:00:00') + toInterval{unit.capitalize()}({count})")
        if unit.lower() in ("day", "week", "month", "quarter", "year"):
            add(f, f"toDate('2024-01-31') + INTERVAL {count} {unit}")
            add(f, f"toDate('2024-02-29') - INTERVAL {count} {unit}")
    for unit in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]:
        for a, b in [("2021-03-27 23:59:59", "2021-03-28 03:00:01"), ("2020-12-31 23:59:59", "2021-01-01 00:00:00"), ("2024-02-29 12:00:00", "2023-02-28 13:00:00"), ("2021-06-15 00:00:00", "2021-06-15 00:00:00"), ("2000-01-01 00:00:00", "2026-11-01 10:11:12")]:
            add(f, f"dateDiff('{unit}', toDateTime('{a}'), toDateTime('{b}'))")
            add(f, f"dateDiff('{unit}', toDateTime('{a}'), toDateTime('{b}'), 'America/New_York')")
            add(f, f"age('{unit}', toDateTime('{a}'), toDateTime('{b}'))")
        if unit in ("day", "week", "month", "quarter", "year"):
            add(f, f"date_diff('{unit}', toDate('2020-01-31'), toDate('2021-03-01'))")
        add(f, f"dateTrunc('{unit}', toDateTime('2023-06-15 12:34:56'))")
        add(f, f"date_trunc('{unit}', toDateTime('2023-06-15 12:34:56'), 'Asia/Kolkata')")
        add(f, f"dateAdd({unit}, 3, toDateTime('2024-01-31 12:00:00'))")
        add(f, f"dateSub({unit}, 3, toDateTime('2024-03-31 12:00:00'))")
        add(f, f"date_add(toDateTime('2024-01-31 12:00:00'), INTERVAL 2 {unit})")
        for n in ["1", "-1", "13", "NULL"]:
            add(f, f"add{unit.capitalize()}s(toDateTime('2024-01-31 12:00:00'), {n})")
            add(f, f"subtract{unit.capitalize()}s(toDateTime('2024-03-31 12:00:00'), {n})")
            if unit in ("day", "week", "month", "quarter", "year"):
                add(f, f"add{unit.capitalize()}s(toDate('2024-01-31'), {n})")
        add(f, f"add{unit.capitalize()}s(toDateTime('2021-03-27 12:00:00', 'Europe/Berlin'), 1)")
        add(f, f"add{unit.capitalize()}s(toDateTime('2021-10-30 12:00:00', 'Europe/Berlin'), 1)")
    for fine in FINE:
        for function in ["toStartOfSecond", "toStartOfMinute", "toStartOfHour", "toStartOfDay", "toYear", "toMillisecond", "toSecond", "toString", "toDate", "toDateTime", "toUnixTimestamp", "toUnixTimestamp64Milli", "toUnixTimestamp64Micro"]:
            for scale in (3, 6):
                if function == "toUnixTimestamp64Milli" and scale != 3 or function == "toUnixTimestamp64Micro" and scale != 6:
                    continue
                add(f, f"{function}(toDateTime64('{fine}', {scale}))")
        add(f, f"formatDateTime(toDateTime64('{fine}', 6), '%Y-%m-%d %H:%i:%S.%f')")
        add(f, f"toDateTime64('{fine}', 3, 'Europe/Berlin')")
        add(f, f"addMilliseconds(toDateTime64('{fine}', 3), 5)")
    for n in ["0", "1623763200", "1623763200123", "-1"]:
        for function in ["fromUnixTimestamp64Milli", "fromUnixTimestamp64Micro", "fromUnixTimestamp64Second"]:
            add(f, f"{function}(toInt64({n}))")
    for n in ["0", "1623763200"]:
        add(f, f"fromUnixTimestamp({n})")
        add(f, f"toDateTime({n})")
        add(f, f"fromUnixTimestamp64Milli(toInt64({n}), 'Europe/Berlin')")
    for spec in "Y y C m d e j H k I h l i M S s p F D T R r u w a W b V G g Q z n t".split():
        for instant in INSTANTS[1::3] + ["2023-06-15 12:00:00", "2023-06-15 00:05:09"]:
            add(f, f"formatDateTime(toDateTime('{instant}'), '%{spec}')")
    add(f, "formatDateTime(toDateTime('2023-06-15 12:34:56'), '%Y-%m', 'Asia/Kolkata')")
    add(f, "formatDateTime(toDateTime('2023-06-15 22:34:56'), '%d %H%% %z', 'Asia/Kolkata')")
    add(f, "formatDateTime(toDate('2023-06-15'), '%Y/%m/%d %H')")
    for value in ["2023-06-15", "2023-06-15 12:34:56", "2023-06-15T12:34:56Z", "2023-06-15T12:34:56.123Z", "2023-06-15T12:34:56+03:00", "2023-06-15 12:34:56 -0500", "20230615", "20230615123456", "1623763200", "15/06/2023", "15-06-2023 10:11:12", "Jun 15 2023", "15 Jun 2023 10:11:12", "Thu, 15 Jun 2023 07:22:16 GMT", "2023-06-15 1:02:03 PM", "2023/06/15", "June 15, 2023", "2023-06-15 12:34", "", "abc", "2023-13-45"]:
        for ending in ["", "OrNull", "OrZero"]:
            add(f, f"parseDateTimeBestEffort{ending}({text(value)})")
        add(f, f"parseDateTime64BestEffortOrNull({text(value)})")
        add(f, f"parseDateTimeBestEffortOrNull({text(value)}, 'America/New_York')")
    for expr in ["toDate('2020-01-02') + 1", "toDate('2020-01-02') - 1", "toDateTime('2020-01-02 00:00:00') + 60", "toDateTime('2020-01-02 00:00:00') - 1", "toDate('2020-01-10') - toDate('2020-01-01')", "toDateTime('2020-01-02 00:00:00') - toDateTime('2020-01-01 00:00:00')", "toDate('2020-01-01') < toDate('2020-01-02')", "toDate('2020-01-01') = '2020-01-01'", "toDateTime('2020-01-01 00:00:00') >= '2020-01-01 00:00:00'", "toDate('2020-01-01') = toDateTime('2020-01-01 00:00:00')", "toDate(toDateTime('2021-03-28 23:30:00'), 'Europe/Berlin')", "toDateTime(toDate('2021-03-28'), 'Europe/Berlin')", "toTimeZone(toDateTime('2021-03-28 00:30:00'), 'Asia/Kolkata')", "timeZoneOffset(toDateTime('2021-07-01 00:00:00', 'Europe/Berlin'))", "makeDate(2024, 2, 29)", "makeDate(2023, 2, 29)", "makeDate(2023, 60)", "timeSlot(toDateTime('2021-03-28 00:45:01'))", "EXTRACT(YEAR FROM toDate('2024-05-06'))", "EXTRACT(MONTH FROM toDate('2024-05-06'))", "EXTRACT(DAY FROM toDate('2024-05-06'))", "EXTRACT(HOUR FROM toDateTime('2024-05-06 07:08:09'))", "toYear(now()) >= 2024", "today() = toDate(now())", "yesterday() = today() - 1", "now() <= now() + 1", "toStartOfDay(now()) = toStartOfDay(today())", "INTERVAL 1 DAY + toDate('2024-01-01')", "DATE '2024-01-01'", "toDate(0)", "toDate(19000)", "toDate(1623763200)", "toDateTime('2021-06-15')", "toUnixTimestamp('2021-06-15 00:00:00')", "toUnixTimestamp('2021-06-15 00:00:00', 'Europe/Berlin')", "year(toDate('2024-05-06'))", "month(toDate('2024-05-06'))", "toStartOfFiveMinute(toDateTime('2021-06-15 00:04:59'))", "toDateTime64('2021-06-15 00:00:00', 3) - INTERVAL 1 HOUR", "toDateTime('2021-03-28 01:30:00', 'Europe/Berlin') + INTERVAL 1 HOUR", "toDateTime('2021-03-28 02:30:00', 'Europe/Berlin')", "toDateTime('2021-10-31 02:30:00', 'Europe/Berlin')"]:
        add(f, expr)


def conversions(add, column):
    f = "conversions"
    words = ["0", "1", "-1", "127", "128", "255", "256", "-129", "65536", "4294967296", "9223372036854775807", "18446744073709551615", "", "abc", "1.5", " 1", "1 ", "+5", "1e3", "NULL"]
    numbers = ["0", "1", "-1", "300", "1.9", "-1.9", "3000000000", "NULL", "toUInt8(200)", "true"]
    for size in ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"]:
        for word in words:
            literal = word if word == "NULL" else text(word)
            for ending in ["OrNull", "OrZero"]:
                if word != "NULL":
                    add(f, f"to{size}{ending}({literal})")
            if word in ("0", "1", "127", "NULL"):
                add(f, f"to{size}({literal})")
        for number in numbers:
            if number.startswith("-1.9") and size.startswith("U"):
                continue
            add(f, f"to{size}({number})")
        add(f, f"to{size}('abc')")
        add(f, f"to{size}OrDefault('abc', to{size}(7))")
        add(f, f"CAST('12' AS {size})")
        add(f, f"CAST('12' AS Nullable({size}))")
        add(f, f"'12'::{size}")
        column(f, f"to{size}OrNull", ["'1'", "'x'", "''"])
    for word in ["0", "1.5", "-2.25", "1e10", "1e-7", "inf", "nan", "", "abc", ".5", "5.", " 1"]:
        for size in ["Float32", "Float64"]:
            for ending in ["OrNull", "OrZero"]:
                add(f, f"to{size}{ending}({text(word)})")
    for number in ["1", "-1.5", "1/3", "1e20", "1e21", "1e-6", "1e-7", "123456789.123", "0.1 + 0.2", "NULL", "toFloat32(0.1)", "1e15", "-0.0", "100.0"]:
        add(f, f"toFloat64({number})")
        add(f, f"toString({number})")
        add(f, f"toFloat32({number})")
    for word in ["1.23", "-1.239", "0", "12", "1.5"]:
        for scale in (0, 2, 4):
            add(f, f"toDecimal64({text(word)}, {scale})")
            add(f, f"toDecimal128({word}, {scale})")
    for word in ["1.23", "abc", ""]:
        add(f, f"toDecimal64OrNull({text(word)}, 2)")
        add(f, f"toDecimal64OrZero({text(word)}, 2)")
    for value in ["1", "-5", "'x'", "NULL", "true", "toDate('2020-01-02')", "toDateTime('2020-01-02 03:04:05')", "toDateTime64('2020-01-02 03:04:05.678', 3)", "1.0", "toUInt64('18446744073709551615')"]:
        add(f, f"toString({value})")
        add(f, f"CAST({value} AS Nullable(String))")
    for value in ["'2020-01-02'", "'2020-01-02 03:04:05'", "'2020-1-2'", "'garbage'", "''", "'0000-00-00'", "'20200102'", "'2020-02-30'", "NULL"]:
        for ending in ["", "OrNull", "OrZero"]:
            if value == "NULL" and ending:
                continue
            add(f, f"toDate{ending}({value})")
            add(f, f"toDateTime{ending}({value})")
        add(f, f"CAST({value} AS Nullable(Date))" if value in ("'2020-01-02'", "NULL") else f"toDate32OrNull({value})")
    for value in ["'true'", "'false'", "'1'", "'0'", "1", "0", "5", "NULL"]:
        add(f, f"toBool({value})")
    for expr in ["CAST(1 AS Float64)", "CAST('2020-01-02' AS Date)", "CAST('2020-01-02 03:04:05' AS DateTime)", "CAST('2020-01-02 03:04:05' AS DateTime('UTC'))", "CAST('1.5' AS Float64)", "CAST(1.9 AS UInt32)", "1.9::UInt32", "'5'::UInt8 + 1", "CAST(NULL AS Nullable(Float64))", "CAST('x' AS LowCardinality(String))", "toUInt8(255) + toUInt8(1)", "toUInt8(1) - toUInt8(2)", "toInt8(127) + toInt8(1)", "toUInt64('18446744073709551615') + 1", "toUInt64('18446744073709551615') + 0", "toInt64('9223372036854775807') + 1", "toUInt8(200) * toUInt8(200)", "-toUInt8(5)", "toInt32('12') + toUInt64(1)", "toInt64(5) - toUInt64(7)", "CAST([1, 2] AS Array(String))", "CAST('2020-01-02 03:04:05.678' AS DateTime64(3))", "reinterpretAsUInt8('a') = 97 OR 1"]:
        if "reinterpret" not in expr:
            add(f, expr)


def texts(add, column):
    f = "text"
    for function in ["length", "lengthUTF8", "empty", "notEmpty", "lower", "upper", "lowerUTF8", "upperUTF8", "reverse", "reverseUTF8", "trimLeft", "trimRight", "trimBoth", "base64Encode", "base64URLEncode", "hex", "initcap", "ascii", "encodeXMLComponent", "splitByWhitespace", "splitByNonAlpha", "alphaTokens", "isValidUTF8", "regexpQuoteMeta"]:
        for value in TEXTS:
            add(f, f"{function}({text(value)})")
        add(f, f"{function}(NULL)")
        column(f, function, [text(value) for value in TEXTS])
    for value in TEXTS:
        for offset, count in [("1", ""), ("2", ", 3"), ("-3", ""), ("-4", ", 2"), ("0", ", 2"), ("1", ", 0"), ("100", ", 2"), ("2", ", -1"), ("1", ", 100"), ("-100", ", 98")]:
            add(f, f"substring({text(value)}, {offset}{count})")
            add(f, f"substringUTF8({text(value)}, {offset}{count})")
    for n in ["0", "1", "3", "-2", "100"]:
        for value in ["Hello", "ÄÖÜ", ""]:
            for function in ["left", "right", "leftUTF8", "rightUTF8"]:
                add(f, f"{function}({text(value)}, {n})")
    haystacks = ["Hello, World", "ÄÖÜ ärger äö", "", "aaa", "abcabc"]
    for value, needle in itertools.product(haystacks, ["", "o", "World", "world", "Ä", "ä", "a", "bc", "zz"]):
        for function in ["position", "positionCaseInsensitive", "positionUTF8", "positionCaseInsensitiveUTF8", "startsWith", "endsWith", "countSubstrings"]:
            add(f, f"{function}({text(value)}, {text(needle)})")
    for start in range(0, 8):
        add(f, f"position('abcabc', 'b', {start})")
        add(f, f"position('abcabc', '', {start})")
    for pattern in ["%o%", "H%", "%d", "_ello%", "hello%", "%", "", "100\\%", "a_c", "%\\_%", "%, W%", "a.c"]:
        for value in ["Hello, World", "", "abc", "100%", "a_c", "a\nc"]:
            for operator in ["LIKE", "NOT LIKE", "ILIKE"]:
                add(f, f"{text(value)} {operator} {text(pattern)}")
    for pattern in ["o", "^H", "d$", "(\\w+), (\\w+)", "\\d+", "[A-Z]", "(?i)hello", "l+", "", "\\bWorld\\b", "a.c", "(a)(b)?"]:
        for value in ["Hello, World", "abc 123 def 45", "", "a\nc", "ÄÖ é"]:
            for function in ["match", "extract", "extractAll", "countMatches"]:
                if function == "extractAll" and pattern == "" or function == "countMatches" and pattern == "":
                    continue
                add(f, f"{function}({text(value)}, {text(pattern)})")
            if pattern:
                whole = text("<\\0>")
                add(f, f"replaceRegexpAll({text(value)}, {text(pattern)}, {whole})")
                add(f, f"replaceRegexpOne({text(value)}, {text(pattern)}, 'X')")
    add(f, "replaceRegexpAll('Hello, World', '(\\\\w+), (\\\\w+)', '\\\\2 \\\\1')")
    for value, a, b in [("Hello", "l", "L"), ("aaa", "a", ""), ("abc", "", "x"), ("", "a", "b"), ("aXbX", "X", "XX"), ("ÄÖ", "Ö", "oe")]:
        for function in ["replaceAll", "replaceOne", "replace"]:
            add(f, f"{function}({text(value)}, {text(a)}, {text(b)})")
    for separator, value in [(",", "a,b,,c"), (",", ""), (",", "abc"), (", ", "a, b, c"), ("", "aÄb"), ("::", "a::b::"), (" ", " x y ")]:
        if len(separator) == 1:
            add(f, f"splitByChar({text(separator)}, {text(value)})")
            add(f, f"splitByChar({text(separator)}, {text(value)}, 2)")
        add(f, f"splitByString({text(separator)}, {text(value)})")
    for expr in ["concat('a', 'b')", "concat('a', 1, 2.5)", "concat('a', NULL)", "'a' || 'b'", "'a' || NULL", "concat()", "concat('x')", "concatWithSeparator('-', 'a', 'b', 'c')", "concat_ws(',', 'a', 'b')", "format('{} {}', 'a', 'b')", "format('{1}-{0}', 'a', 'b')", "format('{{}}')", "format('x{}y', 5)", "leftPad('abc', 7, '*')", "leftPad('abc', 7)", "leftPad('abc', 2)", "leftPad('abc', 8, 'xy')", "rightPad('abc', 7, '*')", "rightPad('abc', 2)", "leftPadUTF8('äb', 5, 'é')", "rightPadUTF8('äb', 5, 'é')", "lpad('a', 3)", "repeat('ab', 3)", "repeat('ab', 0)", "repeat('ab', -1)", "space(3)", "appendTrailingCharIfAbsent('a', '/')", "appendTrailingCharIfAbsent('a/', '/')", "appendTrailingCharIfAbsent('', '/')", "unhex('48656C6C6F')", "unhex('4')", "hex(255)", "hex(1)", "hex(0)", "hex(toUInt32(256))", "hex('abc')", "char(72, 105)", "translate('Hello', 'el', 'ip')", "translateUTF8('Münch', 'ü', 'u')", "substringIndex('a.b.c', '.', 2)", "substringIndex('a.b.c', '.', -1)", "substringIndex('a.b.c', '.', 0)", "base64Decode('SGVsbG8=')", "base64Decode('!!')", "tryBase64Decode('!!')", "base64URLDecode('SGVsbG8')", "hasToken('hello world', 'world')", "hasToken('hello world', 'wor')", "hasTokenCaseInsensitive('Hello World', 'world')", "hasSubsequence('garbage', 'arg')", "hasSubsequence('garbage', 'gra')", "levenshteinDistance('kitten', 'sitting')", "editDistance('abc', '')", "editDistanceUTF8('äbc', 'abc')", "trim(BOTH ' ' FROM ' x ')", "SUBSTRING('hello' FROM 2 FOR 3)", "POSITION('l' IN 'hello')", "lower('ABC') = 'abc'", "like('abc', 'a%')", "notLike('abc', 'a%')", "ilike('ABC', 'a%')", "notILike('ABC', 'a%')", "regexpExtract('foo-bar', '(\\\\w+)-(\\\\w+)', 2)", "countSubstringsCaseInsensitive('aAaA', 'aa')", "'it''s'", "'tab\\there'", "extractAll('a1b22', '\\\\d+')", "ucase('a')", "mid('hello', 2, 2)", "substr('hello', 2, 2)", "trim('  a ')", "ltrim('  a ')", "rtrim('  a ')", "char_length('äb')", "octet_length('äb')", "initcapUTF8('äb öl')", "instr('abc', 'B')", "splitByChar(',', 'a,b')[1]", "splitByChar(',', 'a,b')[-1]", "splitByChar(',', 'a,b')[5]", "length(splitByChar(',', 'a,b'))", "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", "concat(toString(1), '-', toString(2))", "concat(toDate('2020-01-01'), 'x')", "trimLeft('xxabc', 'x')", "trimBoth('xyabcyx', 'xy')"]:
        add(f, expr)


URL_FUNCTIONS = ["protocol", "domain", "domainWithoutWWW", "topLevelDomain", "firstSignificantSubdomain", "cutToFirstSignificantSubdomain", "port", "netloc", "path", "pathFull", "queryString", "fragment", "queryStringAndFragment", "cutQueryString", "cutFragment", "cutQueryStringAndFragment", "cutWWW", "extractURLParameters", "extractURLParameterNames", "decodeURLComponent", "encodeURLComponent", "decodeURLFormComponent", "encodeURLFormComponent", "URLHierarchy", "URLPathHierarchy"]


def urls(add, column):
    f = "urls"
    for function in URL_FUNCTIONS:
        for url in URLS:
            add(f, f"{function}({text(url)})")
        add(f, f"{function}(NULL)")
        column(f, function, [text(url) for url in URLS])
    for url in URLS:
        for name in ["x", "a", "utm_source", "q", "missing", "y"]:
            add(f, f"extractURLParameter({text(url)}, '{name}')")
            add(f, f"cutURLParameter({text(url)}, '{name}')")
    for value in ["a%20b", "100%", "%zz", "%E4%BD%A0", "%ff", "a+b", "%2", ""]:
        add(f, f"decodeURLComponent({text(value)})")
        add(f, f"decodeURLFormComponent({text(value)})")
    add(f, "port('http://example.com/', 443)")
    add(f, "port('http://example.com:8080/', 443)")


def random_urls():
    """Addresses made of pieces that are easy to get wrong, each function over all of them in one query."""
    dice = random.Random(7)
    schemes = ["http://", "https://", "//", "", "HTTP://", "ftp://", "http:/", "http:", "a1+b-c.d://", "://", "1http://"]
    hosts = ["example.com", "www.example.com", "a.b.c.example.co.uk", "localhost", "127.0.0.1", "user@example.com", "u:p@example.com", "example.com.", ".com", "ex ample.com", "EXAMPLE.com", "www.", "", "x.y", "xn--e1afmkfd.com", "com.au", "a_b.com"]
    ports = ["", "", "", ":80", ":8080", ":", ":0", ":99999", ":x"]
    paths = ["", "/", "/a", "/a/b/", "/a%20b", "/a//b", "/a;p=1", "/@x", "/a:b", "/www.x.com"]
    queries = ["", "", "?", "?x=1", "?x=1&y=2", "?x=&y", "?y=2&x=3&x=4", "?a=b?c=d", "?xx=1&x=2", "?x", "?&x=1&", "?x=1;y=2"]
    fragments = ["", "", "", "#", "#f", "#x=5", "#f?x=6", "#a#b", "#x=5&y=6"]
    made = []
    urls = ["".join(dice.choice(part) for part in (schemes, hosts, ports, paths, queries, fragments)) for _ in range(400)]
    for start in range(0, len(urls), 40):
        some = ", ".join(text(url) for url in urls[start : start + 40])
        # What `netloc` cuts off depends on what comes much later; the cases of addresses that people write stand above.
        for function in (function for function in URL_FUNCTIONS if function != "netloc"):
            made.append(("random urls", f"SELECT {function}(x) AS v FROM (SELECT arrayJoin([{some}]) AS x)"))
        for function in ["extractURLParameter", "cutURLParameter"]:
            for name in "xy":
                made.append(("random urls", f"SELECT {function}(x, '{name}') AS v FROM (SELECT arrayJoin([{some}]) AS x)"))
    return made


def jsons(add, column):
    f = "json"
    paths = ["", ", 'a'", ", 'b'", ", 'f', 2", ", 'f', -1", ", 'g', 'h', 'i'", ", 1", ", 'é'", ", 'missing'"]
    for value in JSONS:
        for function in ["JSONExtractString", "JSONExtractInt", "JSONExtractUInt", "JSONExtractFloat", "JSONExtractBool", "JSONExtractRaw", "JSONHas", "JSONLength", "JSONType"]:
            for path in paths[:3] if function in ("JSONExtractUInt", "JSONExtractBool") else paths:
                add(f, f"{function}({text(value)}{path})")
        for name in ["a", "b", "e", "missing"]:
            for function in ["simpleJSONHas", "simpleJSONExtractString", "simpleJSONExtractInt", "simpleJSONExtractUInt", "simpleJSONExtractFloat", "simpleJSONExtractBool", "simpleJSONExtractRaw"]:
                add(f, f"{function}({text(value)}, '{name}')")
        add(f, f"JSONExtractKeys({text(value)})")
        add(f, f"JSONExtractArrayRaw({text(value)}, 'f')")
        add(f, f"isValidJSON({text(value)})")
        for wanted in ["String", "Int64", "Float64", "Nullable(String)", "Nullable(Int64)", "Bool"]:
            add(f, f"JSONExtract({text(value)}, 'a', '{wanted}')")
    for name in ["big", "neg", "exp", "text", "bad"]:
        for function in ["JSONExtractInt", "JSONExtractUInt", "JSONExtractFloat", "JSONExtractString", "JSONExtractRaw", "JSONType"]:
            add(f, f"{function}({text(JSONS[9])}, '{name}')")
    add(f, f"JSONExtract({text(JSONS[8])}, 'f', 'Array(String)')")
    add(f, "JSONExtractString(NULL, 'a')")
    add(f, "visitParamExtractString('{\"a\":\"b\"}', 'a')")
    for function in ["JSONExtractString", "JSONExtractInt", "JSONHas", "JSONExtractRaw"]:
        column(f, function, [text(value) for value in JSONS], "'a'")


def hashes(add):
    f = "hashes"
    long = "The quick brown fox jumps over the lazy dog. "
    for value in ["", "a", "abc", "abcdefgh", "abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyz", long, long * 2, long * 5, "Ä日"]:
        for function in ["cityHash64", "sipHash64", "xxHash64", "xxHash32", "halfMD5", "CRC32"]:
            add(f, f"{function}({text(value)})")
        for function in ["MD5", "SHA256", "SHA224", "SHA512"]:
            add(f, f"hex({function}({text(value)}))")
    for expr in ["cityHash64('a', 'b')", "cityHash64('a', 'b', 'c')", "sipHash64('a', 'b')", "cityHash64(1)", "cityHash64(toUInt64(1))", "cityHash64(toInt32(-5))", "cityHash64('a', 1)", "sipHash64(1)", "sipHash64(toUInt64(1))", "intHash64(1)", "cityHash64(NULL)", "cityHash64(toString(5)) % 10"]:
        add(f, expr)


def lists(add):
    f = "lists"
    for expr in ["[1, 2, 3]", "[]", "['a', 'b']", "array(1, 2)", "length([1, 2])", "empty([])", "notEmpty([1])", "[1, 2, 3][1]", "[1, 2, 3][-1]", "[1, 2, 3][4]", "['a'][2]", "arrayElement([5, 6], 2)", "has([1, 2], 2)", "has([1, 2], 3)", "has(['a', 'b'], 'b')", "hasAny([1, 2], [2, 3])", "hasAny([1, 2], [3])", "hasAll([1, 2, 3], [1, 3])", "hasAll([1, 2], [1, 4])", "indexOf([5, 6, 5], 5)", "indexOf([5, 6], 7)", "countEqual([1, 2, 1], 1)", "arrayConcat([1], [2, 3], [4])", "arraySort(arrayDistinct([1, 2, 1, 3]))", "arrayUniq([1, 2, 1])", "arraySort([3, 1, 2])", "arraySort(['b', 'a'])", "arrayReverseSort([3, 1, 2])", "arrayReverse([1, 2, 3])", "arraySlice([1, 2, 3, 4], 2)", "arraySlice([1, 2, 3, 4], 2, 2)", "arraySlice([1, 2, 3, 4], -2)", "arraySlice([1, 2, 3, 4], -3, 2)", "arraySlice([1, 2, 3, 4], 2, -1)", "arrayPushBack([1], 2)", "arrayPushFront([1], 2)", "arrayPopBack([1, 2])", "arrayPopFront([1, 2])", "arraySort(arrayIntersect([1, 2, 3], [2, 3, 4]))", "arrayFlatten([[1], [2, 3]])", "arrayEnumerate([5, 6, 7])", "arrayStringConcat(['a', 'b'], '-')", "arrayStringConcat(['a', 'b'])", "arrayMap(x -> x * 2, [1, 2, 3])", "arrayMap(x -> upper(x), ['a', 'b'])", "arrayFilter(x -> x > 1, [1, 2, 3])", "arrayExists(x -> x = 2, [1, 2])", "arrayExists(x -> x = 5, [1, 2])", "arrayAll(x -> x > 0, [1, 2])", "arrayAll(x -> x > 1, [1, 2])", "arrayCount(x -> x > 1, [1, 2, 3])", "arrayFirst(x -> x > 1, [1, 2, 3])", "arrayFirst(x -> x > 5, [1, 2, 3])", "arrayLast(x -> x < 3, [1, 2, 3])", "arraySum([1, 2, 3])", "arraySum([1.5, 2])", "arrayAvg([1, 2, 4])", "arrayMin([3, 1, 2])", "arrayMax([3, 1, 2])", "range(5)", "range(2, 5)", "range(0, 10, 3)", "range(0)", "emptyArrayString()", "1 IN [1, 2]", "arrayProduct([2, 3, 4])"]:
        add(f, expr)


def arithmetic(add):
    f = "arithmetic"
    values = ["0", "1", "-1", "7", "-7", "2.5", "NULL", "toUInt8(250)", "1000000007"]
    for a, b in itertools.product(values, values):
        for op in ["+", "-", "*", "/"]:
            add(f, f"{a} {op} {b}")
    for a, b in itertools.product(["7", "-7", "10", "NULL"], ["3", "-3", "10"]):
        for function in ["intDiv", "modulo", "positiveModulo", "gcd", "lcm", "intDivOrZero", "bitAnd", "bitOr", "bitXor"]:
            if "bit" in function and ("-" in a or "-" in b):
                continue
            add(f, f"{function}({a}, {b})")
        add(f, f"{a} % {b}")
    for expr in ["intDivOrZero(1, 0)", "moduloOrZero(1, 0)", "intDivOrNull(1, 0)", "intDiv(1, 0)", "1 / 0", "-1 / 0", "0 / 0", "5 DIV 2", "-5 DIV 2", "negate(5)", "negate(-5.5)", "-(-3)", "pow(2, 10)", "power(2, 0.5)", "sqrt(2)", "exp(1)", "log(10)", "ln(10)", "log2(8)", "log10(1000)", "cbrt(27)", "exp2(3)", "exp10(2)", "sin(1)", "cos(1)", "tan(1)", "atan(1)", "atan2(1, 2)", "pi()", "hypot(3, 4)", "degrees(pi())", "radians(180)", "isNaN(0 / 0)", "isNaN(1)", "isFinite(1 / 0)", "isInfinite(1 / 0)", "ifNotFinite(1 / 0, 5)", "ifNotFinite(2, 5)", "log(0)", "log(-1)", "sqrt(-1)", "bitShiftLeft(1, 3)", "bitShiftRight(8, 2)", "bitTest(5, 2)", "bitCount(7)", "sign(-3)", "sign(0)", "sign(2.5)", "mod(7, 3)", "plus(1, 2)", "minus(1, 2)", "multiply(3, 4)", "divide(7, 2)", "log1p(1)", "asin(1)", "acos(1)", "2 + 3 * 4", "(2 + 3) * 4", "10 - 2 - 3", "100.0 * 1 / 3", "count() / 2"]:
        add(f, expr)
    for number in ["0", "1.5", "2.5", "-1.5", "-2.5", "1.25", "1.35", "2.675", "123.456", "-0.5", "1e20", "NULL", "5", "-5", "15", "25", "-15"]:
        for function in ["round", "roundBankers", "floor", "ceil", "trunc", "abs"]:
            add(f, f"{function}({number})")
            if function != "abs":
                add(f, f"{function}({number}, 1)")
                add(f, f"{function}({number}, -1)")


def united(values):
    """A column x of these values, which cannot be NULL when none of them is."""
    return " UNION ALL ".join(f"SELECT {value} AS x" for value in values)


def aggregates():
    f = "aggregates"
    rows = [
        f"(SELECT x, x % 3 AS k, toString(x % 4) AS s, x / 4 AS r FROM ({united(range(1, 11))}))",
        f"(SELECT x, 1 AS k, 'a' AS s, x * 0.5 AS r FROM ({united([1, NULL, 3, NULL, 5])}))",
        f"(SELECT x, 1 AS k, 'z' AS s, 1.5 AS r FROM ({united([1, 2])}) WHERE x > 5)",
        f"(SELECT x, 1 AS k, toString(x) AS s, x / 4 AS r FROM ({united([1, NULL])}) WHERE x > 5)",
        "(SELECT 7 AS x, 2 AS k, 'é' AS s, 2.5 AS r)",
    ]
    calls = ["count()", "count(*)", "count(x)", "count(DISTINCT k)", "countIf(x > 3)", "countIf(x, k = 1)", "countIf(0)", "sum(x)", "sumIf(x, k = 1)", "sumIf(x, 0)", "sumIf(1, x > 3)", "sum(x > 3)", "sumOrNull(x)", "sumIfOrNull(x, x > 100)", "sumIfOrDefault(x, x > 100)", "sumDistinct(k)", "avg(x)", "avgIf(x, x > 3)", "avgIf(x, 0)", "avg(k = 1)", "min(x)", "max(x)", "minIf(x, x > 3)", "maxIf(x, x < 3)", "maxIf(x, 0)", "min(s)", "maxIf(s, 0)", "uniq(k)", "uniq(x, k)", "uniq((x, k))", "uniqExact(s)", "uniqIf(k, x > 3)", "uniqExactIf(x, k = 1)", "uniqCombined(x)", "uniqHLL12(k)", "any(k)", "anyIf(x, x > 4)", "anyLast(k)", "anyIf(s, 0)", "argMin(x, r)", "argMax(x, r)", "argMax(s, x)", "argMinIf(s, x, x > 3)", "argMaxIf(x, r, 0)", "quantile(x)", "quantile(0.9)(x)", "quantile(0)(x)", "quantile(1)(r)", "median(x)", "medianIf(x, x > 2)", "quantileIf(0.25)(x, x < 9)", "quantiles(0.25, 0.5, 0.75)(x)", "quantileExact(x)", "quantileExact(0.9)(x)", "quantileExactLow(x)", "quantileExactHigh(x)", "medianExact(x)", "quantilesExact(0.1, 0.9)(x)", "arraySort(groupArray(x))", "length(groupArray(x))", "arraySort(groupUniqArray(k))", "arraySort(groupArrayIf(x, x > 3))", "length(groupArray(2)(x))", "arraySort(topK(3)(k))", "stddevPop(x)", "stddevSamp(x)", "varPop(x)", "varSamp(x)", "corr(x, r)", "covarPop(x, r)", "covarSamp(x, r)", "groupBitAnd(k)", "groupBitOr(k)", "groupBitXor(k)", "avgWeighted(x, k)", "retention(x = 1, x = 3, x = 50)", "countIf(x > 3) / count()", "round(100 * countIf(x > 3) / count(), 2)", "if(count() = 0, 0, sum(x) / count())", "uniq(s) * 2 + 1", "toFloat64(sum(x)) / uniq(s)", "countDistinct(k)", "count(DISTINCT k, s)", "sum(toUInt8(x))", "sum(r)", "max(r) - min(r)", "countOrNull(x)", "minOrNull(x)", "avgOrNull(x)", "anyOrNull(s)", "SUM(x)", "Count(x)", "sumKahan(r)", "first_value(k)", "last_value(k)", "any_value(k)", "max_by(s, x)", "min_by(s, x)", "uniqExact(x > 3)", "max(toDate('2020-01-01') + x)", "min(toDateTime('2020-01-01 00:00:00') + x)"]
    made = [(f, f"SELECT {call} AS v FROM {table}") for call in calls for table in rows]
    grouped = ["count()", "sum(x)", "countIf(x > 5)", "uniq(s)", "avg(x)", "max(x)", "sumIf(x, x > 100)", "argMax(s, x)", "quantile(0.5)(x)", "arraySort(groupArray(x))", "avgIf(x, x > 100)", "maxIf(s, x > 100)", "minIf(toDate('2020-01-01') + x, x > 100)"]
    made += [(f, f"SELECT k, {call} AS v FROM {rows[0]} GROUP BY k ORDER BY k") for call in grouped]
    return made


def syntax():
    f = "syntax"
    table = "(SELECT arrayJoin([1, 2, 3, 4]) AS x)"
    queries = [
        f"SELECT x, x * 2 AS y, y + 1 AS z FROM {table} WHERE y > 2 ORDER BY x",
        f"SELECT x AS `back quoted` FROM {table} ORDER BY `back quoted` DESC LIMIT 2",
        f"WITH t AS (SELECT x FROM {table}) SELECT sum(x) AS s FROM t",
        f"SELECT x FROM {table} ORDER BY x LIMIT 1, 2",
        f"SELECT x % 2 AS k, count() AS c FROM {table} GROUP BY k HAVING c > 1 ORDER BY k",
        f"SELECT x ? 'a' : 'b' AS v FROM {table} ORDER BY x",
        f"SELECT count() FROM {table} PREWHERE x > 1 WHERE x < 4" if False else f"SELECT count() FROM {table} WHERE x > 1 AND x < 4",
        f"SELECT x, row_number() OVER (ORDER BY x DESC) AS n FROM {table} ORDER BY x",
        f"SELECT x, sum(x) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n FROM {table} ORDER BY x",
        f"SELECT x, lagInFrame(x) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS n FROM {table} ORDER BY x",
        f"SELECT x, any(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING) AS n FROM {table} WHERE x > 1 ORDER BY x" if False else f"SELECT max(x) AS m, min(x) AS n FROM {table}",
        f"SELECT a.x FROM {table} AS a INNER JOIN {table} AS b ON a.x = b.x + 1 ORDER BY a.x",
        f"SELECT a.x, b.x FROM {table} AS a LEFT JOIN (SELECT arrayJoin([1, 2]) AS x) AS b ON a.x = b.x WHERE a.x < 3 ORDER BY a.x",
        f"SELECT x FROM {table} WHERE x IN (SELECT arrayJoin([2, 3])) ORDER BY x",
        "SELECT arrayJoin([3, 1, 2]) AS x ORDER BY x",
        "SELECT lower('ABC') AS x, length(x) AS n",
        "SELECT toDate('2024-05-06') AS d, toStartOfMonth(d) AS m, m < d AS less",
        "SELECT 1 AS a UNION ALL SELECT 2 AS a ORDER BY a",
        f"SELECT DISTINCT x % 2 AS k FROM {table} ORDER BY k",
        f"SELECT countIf(x > 1) AS a, a / count() AS share FROM {table}",
        f"SELECT * FROM {table} WHERE NOT (x = 1 OR x = 2) ORDER BY x",
        f"SELECT x FROM (SELECT arrayJoin([2, NULL, 1]) AS x) ORDER BY x",
        f"SELECT x FROM (SELECT arrayJoin([2, NULL, 1]) AS x) ORDER BY x DESC",
        f"SELECT multiIf(x < 2, 'low', x < 4, 'mid', 'high') AS size, count() AS c FROM {table} GROUP BY size ORDER BY size",
        f"SELECT sum(x) FILTER (WHERE x > 1) AS s FROM {table}",
        f"SELECT x FROM {table} GROUP BY x ORDER BY count() DESC, x LIMIT 1",
        f"SELECT SUM(x), AVG(x), MAX(x) FROM {table}",
        f"SELECT TOSTRING(1)" if False else "SELECT toString(1) AS s",
        f"SELECT (SELECT max(x) FROM {table}) AS m",
        f"SELECT x FROM {table} WHERE x GLOBAL IN (1, 2) ORDER BY x",
    ]
    return [(f, query) for query in queries]


def funnels():
    """Random users of windowFunnel: ties, repeats and unknown rows are frequent."""
    dice = random.Random(11)
    made = []
    for number in range(120):
        steps = dice.randint(1, 4)
        events = [(dice.randint(0, 12), dice.choice("abcdx")) for _ in range(dice.randint(0, 9))] or [(0, "x")]
        window = dice.choice([0, 1, 3, 5, 20])
        rows = " UNION ALL ".join(f"SELECT {at} AS t, '{event}' AS e" for at, event in events)
        conditions = [f"e = '{'abcd'[step]}'" for step in range(steps)]
        if dice.random() < 0.2:
            conditions[-1] = "e IN ('a', 'b')"
        modes = ["", ", 'strict_deduplication'", ", 'strict_order'", ", 'strict_increase'", ", 'strict_order', 'strict_increase'"]
        for mode in modes if number % 4 == 0 else [modes[0], dice.choice(modes[1:])]:
            at = dice.choice(["toUInt32(t)", "toDateTime(t)", "toDateTime(t)"])
            made.append(("funnels", f"SELECT windowFunnel({window}{mode})({at}, {', '.join(conditions)}) AS v FROM ({rows})"))
    return made
