"""Proves from a statement's syntax tree that it touches only rows of its user, $1 (sql/README.md).

The proof is simple: each query level must have its own owner condition, and unknown syntax is a violation.
"""

from collections.abc import Iterator

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType, SetOperation

OWNERS = {"tasks": "user_id", "users": "id"}
"""The column of each table that names the owner of a row."""

# Functions that return one value, read no table, and run no SQL text.
FUNCTIONS = {
    ("array_remove",),
    ("char_length",),
    ("count",),
    ("lower",),
    ("max",),
    ("octet_length",),
    ("pg_catalog", "extract"),
    ("pg_catalog", "is_normalized"),
    ("pg_catalog", "normalize"),
    ("pg_catalog", "timezone"),  # AT TIME ZONE
    ("repeat",),
    ("statement_timestamp",),
    ("string_agg",),
    ("strpos",),
    ("to_char",),
    ("to_regclass",),
}

OPERATORS = {"=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "||"}

Statement = ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt

KNOWN = (
    *(ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt),
    *(ast.WithClause, ast.CommonTableExpr, ast.RangeVar, ast.RangeSubselect, ast.JoinExpr, ast.Alias),
    *(ast.ResTarget, ast.SortBy, ast.LockingClause, ast.ReturningClause),
    *(ast.OnConflictClause, ast.InferClause, ast.IndexElem),
    *(ast.ColumnRef, ast.ParamRef, ast.A_Const, ast.Boolean, ast.Integer, ast.String),
    *(ast.A_Expr, ast.BoolExpr, ast.NullTest, ast.BooleanTest, ast.CaseExpr, ast.CaseWhen, ast.CoalesceExpr),
    *(ast.MinMaxExpr, ast.RowExpr, ast.A_ArrayExpr),
    *(ast.TypeCast, ast.TypeName, ast.CollateClause, ast.FuncCall, ast.SubLink),
)


def violations(sql: str) -> list[str]:
    """The violations in the statements. The list is empty if they can only touch rows of the user $1."""
    return [violation for statement in parse_sql(sql) for violation in _visit(statement.stmt, frozenset())]


def _visit(node: object, ctes: frozenset[str]) -> Iterator[str]:
    """Checks a node and all nodes below it. `ctes` are the names of the CTEs that it can read."""
    if isinstance(node, tuple):
        for part in node:
            yield from _visit(part, ctes)
    elif isinstance(node, ast.Node):
        yield from _check_node(node)
        if isinstance(node, Statement):
            yield from _visit_statement(node, ctes)
        else:
            for slot in node:
                yield from _visit(getattr(node, slot), ctes)


def _check_node(node: ast.Node) -> Iterator[str]:
    if not isinstance(node, KNOWN):
        yield f"{type(node).__name__} is not known to be safe"
    if isinstance(node, ast.FuncCall) and _texts(node.funcname) not in FUNCTIONS:
        yield f"the function {'.'.join(_texts(node.funcname))} is not known to be safe"
    if isinstance(node, ast.A_Expr) and ".".join(_texts(node.name)) not in OPERATORS:
        yield f"the operator {'.'.join(_texts(node.name))} is not known to be safe"
    if isinstance(node, ast.Alias) and node.colnames:
        yield f"{node.aliasname} renames columns, perhaps to an owner's name"
    if isinstance(node, ast.JoinExpr) and (node.alias or node.join_using_alias):
        yield "a join with an alias hides its tables: their names may refer to an outer level"


def _visit_statement(statement: Statement, ctes: frozenset[str]) -> Iterator[str]:
    if statement.withClause:
        queries = statement.withClause.ctes or ()
        names = frozenset(query.ctename for query in queries)
        for name in sorted(names & OWNERS.keys()):
            yield f"a CTE is named {name}, like the table"
        if statement.withClause.recursive:
            ctes |= names
        for query in queries:
            yield from _visit(query, ctes)
            ctes |= {query.ctename}
    yield from _check_level(statement, ctes)
    for slot in statement:
        if slot != "withClause":
            yield from _visit(getattr(statement, slot), ctes)


def _check_level(statement: Statement, ctes: frozenset[str]) -> Iterator[str]:
    """Checks the tables that a statement itself reads and writes. Queries within it are separate levels."""
    match statement:
        case ast.InsertStmt():
            yield from _check_target(statement)
            yield from _check_insert(statement)
            return
        case ast.UpdateStmt():
            yield from _check_target(statement)
            sources = [statement.relation, *(statement.fromClause or ())]
        case ast.DeleteStmt():
            yield from _check_target(statement)
            sources = [statement.relation, *(statement.usingClause or ())]
        case ast.SelectStmt():
            sources = [*(statement.fromClause or ())]
    relations = [relation for source in sources for relation in _relations(source)]
    conjuncts = [*_conjuncts(statement.whereClause), *(part for source in sources for part in _join_conjuncts(source))]
    for relation in relations:
        if isinstance(relation, ast.RangeVar):
            yield from _check_relation(relation, ctes, conjuncts, alone=len(relations) == 1)
    for source in sources:
        yield from _check_joins(source)


def _check_relation(
    relation: ast.RangeVar, ctes: frozenset[str], conjuncts: list[ast.Node], *, alone: bool
) -> Iterator[str]:
    name = _name(relation)
    if relation.schemaname:
        yield f"{relation.schemaname}.{name} is named with its schema"
    elif name in OWNERS and not _is_owned(relation, conjuncts, alone=alone):
        yield f"{name} has no owner condition in its own level"
    elif name not in OWNERS and name not in ctes:
        yield f"{name} is neither a user table nor a visible CTE"


def _relations(source: ast.Node | None) -> Iterator[ast.Node]:
    if isinstance(source, ast.JoinExpr):
        yield from _relations(source.larg)
        yield from _relations(source.rarg)
    elif source is not None:
        yield source


def _conjuncts(condition: ast.Node | None) -> Iterator[ast.Node]:
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for part in condition.args or ():
            yield from _conjuncts(part)
    elif condition is not None:
        yield condition


def _join_conjuncts(source: ast.Node | None) -> Iterator[ast.Node]:
    if isinstance(source, ast.JoinExpr) and source.jointype == JoinType.JOIN_INNER:
        yield from _conjuncts(source.quals)
        yield from _join_conjuncts(source.larg)
        yield from _join_conjuncts(source.rarg)


def _check_joins(source: ast.Node | None) -> Iterator[str]:
    if not isinstance(source, ast.JoinExpr):
        return
    if source.jointype != JoinType.JOIN_INNER:
        names = {_name(relation) for relation in _relations(source) if isinstance(relation, ast.RangeVar)}
        for name in sorted(names & OWNERS.keys()):
            yield f"{name} is in an outer join"
    yield from _check_joins(source.larg)
    yield from _check_joins(source.rarg)


def _is_owned(table: ast.RangeVar, conjuncts: list[ast.Node], *, alone: bool) -> bool:
    """Whether one of the conjuncts is `alias.owner = $1`, or `owner = $1` if there is no other relation."""
    owner = OWNERS[_name(table)]
    qualified = (table.alias.aliasname if table.alias else _name(table), owner)
    columns = [_column_equal_to_user(conjunct) for conjunct in conjuncts]
    return qualified in columns or (alone and (owner,) in columns)


def _column_equal_to_user(condition: ast.Node) -> tuple[str, ...] | None:
    match condition:
        case ast.A_Expr(
            kind=A_Expr_Kind.AEXPR_OP,
            name=(ast.String(sval="="),),
            lexpr=ast.ColumnRef(fields=fields),
            rexpr=ast.ParamRef(number=1),
        ):
            return _texts(fields)
    return None


def _check_target(statement: ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt) -> Iterator[str]:
    table = _name(statement.relation)
    if table not in OWNERS or (statement.relation and statement.relation.schemaname):
        yield f"{table} is written, but is not a user table without a schema"
    if isinstance(statement, ast.UpdateStmt) and OWNERS.get(table) in _column_names(statement.targetList):
        yield f"the owner of {table} is updated"


def _check_insert(statement: ast.InsertStmt) -> Iterator[str]:
    table = _name(statement.relation)
    owner, columns = OWNERS.get(table), _column_names(statement.cols)
    if owner not in columns or statement.selectStmt is None:
        yield f"an INSERT into {table} has no owner"
    elif not all(_is_user(row, columns.index(owner)) for row in _inserted_rows(statement.selectStmt)):
        yield f"an INSERT into {table} has an owner other than $1"
    conflict = statement.onConflictClause
    if conflict is None:
        return
    elements = conflict.infer.indexElems if conflict.infer else None
    if not any(element.name == owner and not (element.collation or element.opclass) for element in elements or ()):
        yield f"the conflict target of an INSERT into {table} doesn't include the owner"
    if owner in _column_names(conflict.targetList):
        yield f"the owner of {table} is updated on conflict"


def _inserted_rows(select: ast.Node | None) -> Iterator[tuple[ast.Node, ...]]:
    """The expressions of each row of VALUES, and of each branch of a SELECT. (`*` is a separate violation.)"""
    if not isinstance(select, ast.SelectStmt):
        yield ()
    elif select.op != SetOperation.SETOP_NONE:
        yield from _inserted_rows(select.larg)
        yield from _inserted_rows(select.rarg)
    elif select.valuesLists:
        yield from select.valuesLists
    else:
        yield tuple(target.val for target in select.targetList or ())


def _is_user(row: tuple[ast.Node, ...], position: int) -> bool:
    match row[position : position + 1]:
        case (ast.ParamRef(number=1),):
            return True
    return False


def _name(relation: ast.RangeVar | None) -> str:
    return relation.relname or "" if relation else ""


def _column_names(targets: tuple[ast.ResTarget, ...] | None) -> list[str | None]:
    return [target.name for target in targets or ()]


def _texts(names: tuple[ast.Node, ...] | None) -> tuple[str, ...]:
    return tuple(name.sval or "" if isinstance(name, ast.String) else "*" for name in names or ())
