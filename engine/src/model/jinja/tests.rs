use super::*;

fn rendered(text: &str) -> Rendered {
    render("a.yml", text, &[]).unwrap()
}

#[test]
fn loops_conditions_and_macros_make_yaml_and_texts_come_quoted() {
    let text = "{%- set names = ['au', 'us'] -%}
{% macro column(name) %}sum({{ name | safe }}){% endmacro %}
cubes:
{%- for name in names %}
  - name: {{ name }}
    sql: SELECT {{ column(name) }} FROM {{ name | safe }}_orders WHERE {CUBE}.x = 1
    {% if not loop.last %}title: First{% endif %}
{%- endfor %}
";
    let out = rendered(text);
    assert!(out.text.contains("name: \"au\""), "{}", out.text);
    assert!(
        out.text.contains("SELECT sum(us) FROM us_orders WHERE {CUBE}.x = 1"),
        "{}",
        out.text
    );
    assert_eq!(out.text.matches("title: First").count(), 1);
    assert_eq!(
        rendered("a: {{ none }} {{ missing }} {{ [1, true] }} {{ {'a': 'b'} }}").text,
        "a: null null [1,true] {\"a\":\"b\"}"
    );
}

#[test]
fn lines_point_to_the_template() {
    let text = "{# two\nlines #}\ncubes:\n{%- for n in range(2) %}\n  - name: c{{ n }}\n    foo: 1\n{%- endfor %}\nviews: []\n";
    let out = rendered(text);
    let at = |needle: &str| {
        let found = out
            .text
            .lines()
            .zip(&out.lines)
            .filter(|(line, _)| line.contains(needle));
        found.map(|(_, line)| *line).collect::<Vec<u32>>()
    };
    assert_eq!(at("cubes:"), [3]);
    assert_eq!(at("foo: 1"), [6, 6]);
    assert_eq!(at("views:"), [8]);
}

#[test]
fn others_are_imported_and_included() {
    let others = [
        (
            "m.jinja".to_owned(),
            "{% macro hello(x) %}hi {{ x | safe }}{% endmacro %}".to_owned(),
        ),
        ("part.yml".to_owned(), "b: 2".to_owned()),
    ];
    let text = "{% import 'm.jinja' as m %}\na: {{ m.hello('you') }}\n{% include \"part.yml\" %}\n";
    assert_eq!(quoted(text), ["m.jinja", "part.yml"]);
    assert_eq!(render("a.yml", text, &others).unwrap().text, "\na: hi you\nb: 2");
}

#[test]
fn what_cannot_be_is_told_with_its_line() {
    let cases = [
        ("a: 1\nb: {{ load_data() }}", 2, "`load_data` is not known"),
        ("a: 1\n\nb: {{ 1 | pythonic }}", 3, "`pythonic` is not known"),
        ("a: {{ COMPILE_CONTEXT.securityContext.x }}", 1, "SECURITY_CONTEXT"),
        ("\n{% import 'none.jinja' as x %}", 2, "none.jinja"),
        ("a: {{ env_var('HOME') }}", 1, "the environment is not read"),
        ("a:\n{% for %}", 2, "syntax error"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            1,
            "too",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 1, "recursion"),
    ];
    for (text, line, message) in cases {
        let (at, found) = render("a.yml", text, &[]).unwrap_err();
        assert!(at == line && found.contains(message), "{text}: {at}: {found}");
    }
}
