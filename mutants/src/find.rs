//! Where a source can be changed, and how.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, ExprBinary, ReturnType, Stmt, Type, UnOp};

/// How a change stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// Before the first statement of a function.
    Enter,
    /// Instead of a statement.
    Statement,
    /// Instead of an expression.
    Expression,
}

/// One change of one place.
#[derive(Clone, Debug)]
pub struct Change {
    pub kind: &'static str,
    /// What stands instead, on one line.
    pub text: String,
    /// Original and change are two answers that can be compared and do nothing else.
    pub comparable: bool,
}

/// A place and its changes, of which at most one is made.
#[derive(Clone, Debug)]
pub struct Place {
    /// Bytes of the source.
    pub begin: usize,
    pub end: usize,
    pub line: usize,
    pub form: Form,
    /// What stands there, on one line.
    pub original: String,
    pub changes: Vec<Change>,
    /// Nothing that a cluster does depends on it: it only notes that a transition was reached.
    pub only_noted: bool,
}

/// All places of a source, outer ones before those within them.
pub fn places(source: &str) -> syn::Result<Vec<Place>> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder::default();
    finder.visit_file(&file);
    let mut places = finder.places;
    places.sort_by(|a, b| (a.begin, b.end, a.form).cmp(&(b.begin, a.end, b.form)));
    Ok(places)
}

#[derive(Default)]
struct Finder {
    places: Vec<Place>,
    /// Within what only notes.
    noting: bool,
}

impl Finder {
    fn add(&mut self, node: &(impl Spanned + ToTokens), form: Form, changes: Vec<(&'static str, TokenStream)>) {
        let range = node.span().byte_range();
        let (line, original) = (node.span().start().line, one_line(&node.to_token_stream()));
        let change = |(kind, text)| Change { kind, text: one_line(&text), comparable: false };
        let changes = changes.into_iter().map(change).collect();
        let only_noted = self.noting;
        self.places.push(Place { begin: range.start, end: range.end, line, form, original, changes, only_noted });
    }

    /// Lets a function answer at once.
    fn enter(&mut self, name: &syn::Ident, output: &ReturnType, block: &Block) {
        let Some(first) = block.stmts.first() else { return };
        let body: TokenStream = block.stmts.iter().map(ToTokens::to_token_stream).collect();
        let answers = early_answers(output).into_iter().filter(|answer| answer.to_string() != body.to_string());
        let changes: Vec<Change> = answers
            .map(|answer| Change {
                kind: "answer at once",
                text: one_line(&quote!(return #answer;)),
                comparable: false,
            })
            .collect();
        if changes.is_empty() {
            return;
        }
        let begin = block.brace_token.span.open().byte_range().end;
        let line = first.span().start().line;
        let original = format!("the body of {name}");
        let (end, form, only_noted) = (begin, Form::Enter, false);
        self.places.push(Place { begin, end, line, form, original, changes, only_noted });
    }

    /// Leaves out a call or an assignment that stands for what it does.
    fn leave_out(&mut self, node: &(impl Spanned + ToTokens), expr: &Expr) {
        let mut changes = Vec::new();
        match expr {
            Expr::Binary(b) if matches!(b.op, BinOp::AddAssign(_)) => {
                let (left, right) = (&b.left, &b.right);
                changes.push(("+= as -=", quote!(#left -= #right;)));
            }
            Expr::Binary(b) if matches!(b.op, BinOp::SubAssign(_)) => {
                let (left, right) = (&b.left, &b.right);
                changes.push(("-= as +=", quote!(#left += #right;)));
            }
            Expr::Binary(b) if is_assignment(&b.op) => {}
            Expr::Assign(_) | Expr::Call(_) | Expr::MethodCall(_) => {}
            _ => return,
        }
        changes.push(("left out", TokenStream::new()));
        self.add(node, Form::Statement, changes);
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item::{Enum, Fn, Impl, Mod, Trait};
        match item {
            Fn(f) if usual(&f.attrs) => visit::visit_item(self, item),
            Impl(i) if usual(&i.attrs) => visit::visit_item(self, item),
            Mod(m) if usual(&m.attrs) => visit::visit_item(self, item),
            Trait(t) if usual(&t.attrs) => visit::visit_item(self, item),
            // Constants, types, macros: nothing that runs, or nothing that can be chosen while it runs.
            Enum(_) | _ => {}
        }
    }

    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        if f.sig.constness.is_none() {
            self.enter(&f.sig.ident, &f.sig.output, &f.block);
            visit_body(self, &f.sig.output, &f.block);
        }
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        if f.sig.constness.is_none() && usual(&f.attrs) {
            self.enter(&f.sig.ident, &f.sig.output, &f.block);
            visit_body(self, &f.sig.output, &f.block);
        }
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_macro(&mut self, _: &'ast syn::Macro) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_stmt(&mut self, stmt: &'ast Stmt) {
        let before = self.noting;
        match stmt {
            Stmt::Expr(expr, Some(_)) => {
                self.noting |= notes(expr);
                self.leave_out(stmt, expr);
            }
            Stmt::Local(local) if !usual(&local.attrs) => return,
            _ => {}
        }
        visit::visit_stmt(self, stmt);
        self.noting = before;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if usual(&arm.attrs) {
            let before = self.noting;
            self.noting |= notes(&arm.body);
            self.leave_out(&arm.body, &arm.body);
            self.noting = before;
            visit::visit_arm(self, arm);
        }
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        // What only a planted bug does is no part of the protocol.
        if !asks_for_plant(&branch.cond) {
            return visit::visit_expr_if(self, branch);
        }
        if let Some((_, other)) = &branch.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if matches!(unary.op, UnOp::Not(_)) && !asks_for_plant(&unary.expr) {
            let operand = &unary.expr;
            self.add(unary, Form::Expression, vec![("! removed", quote!(#operand))]);
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        let changes: Vec<_> = other_operators(binary)
            .into_iter()
            .map(|(kind, op)| {
                let changed = ExprBinary { op, ..binary.clone() };
                (kind, changed.to_token_stream())
            })
            .collect();
        if !changes.is_empty() {
            self.add(binary, Form::Expression, changes);
            let added = self.places.last_mut().expect("just added");
            added.changes.iter_mut().for_each(|change| change.comparable = only_answers(binary));
        }
        visit::visit_expr_binary(self, binary);
    }
}

/// The body of a function that answers nothing may end with a call without a semicolon.
fn visit_body(finder: &mut Finder, output: &ReturnType, block: &Block) {
    if let (ReturnType::Default, Some(Stmt::Expr(last, None))) = (output, block.stmts.last()) {
        finder.leave_out(last, last);
    }
    visit::visit_block(finder, block);
}

/// Neither of the tests nor of a build without the simulator.
fn usual(attributes: &[Attribute]) -> bool {
    let cfg = attributes.iter().filter(|a| a.path().is_ident("cfg")).map(|a| a.to_token_stream().to_string());
    !cfg.into_iter().any(|text| text.contains("test") || text.contains("not"))
}

fn early_answers(output: &ReturnType) -> Vec<TokenStream> {
    let ReturnType::Type(_, of) = output else { return vec![TokenStream::new()] };
    let Type::Path(path) = of.as_ref() else { return Vec::new() };
    let Some(last) = path.path.segments.last() else { return Vec::new() };
    match last.ident.to_string().as_str() {
        "bool" => vec![quote!(true), quote!(false)],
        "Option" => vec![quote!(None)],
        "Vec" => vec![quote!(Vec::new())],
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "Micros" => vec![quote!(0)],
        "Result" if last.arguments.to_token_stream().to_string().starts_with("< ()") => vec![quote!(Ok(()))],
        _ => Vec::new(),
    }
}

fn other_operators(binary: &ExprBinary) -> Vec<(&'static str, BinOp)> {
    use BinOp::{Add, And, Eq, Ge, Gt, Le, Lt, Ne, Or, Sub};
    let lt = ("as <", Lt(Default::default()));
    let le = ("as <=", Le(Default::default()));
    let gt = ("as >", Gt(Default::default()));
    let ge = ("as >=", Ge(Default::default()));
    let joins = |op| {
        let operands = [&binary.left, &binary.right];
        let keep = operands.iter().any(|operand| has_let(operand) || asks_for_plant(operand));
        if keep { Vec::new() } else { vec![op] }
    };
    match binary.op {
        Eq(_) => vec![("as !=", Ne(Default::default()))],
        Ne(_) => vec![("as ==", Eq(Default::default()))],
        Lt(_) => vec![le, ge],
        Le(_) => vec![lt, gt],
        Gt(_) => vec![ge, le],
        Ge(_) => vec![gt, lt],
        And(_) => joins(("as ||", Or(Default::default()))),
        Or(_) => joins(("as &&", And(Default::default()))),
        Add(_) => vec![("as -", Sub(Default::default()))],
        Sub(_) => vec![("as +", Add(Default::default()))],
        _ => Vec::new(),
    }
}

fn is_assignment(op: &BinOp) -> bool {
    use BinOp::{BitAndAssign, BitOrAssign, BitXorAssign, DivAssign, MulAssign, RemAssign, ShlAssign, ShrAssign};
    matches!(
        op,
        BitAndAssign(_)
            | BitOrAssign(_)
            | BitXorAssign(_)
            | DivAssign(_)
            | MulAssign(_)
            | RemAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
    )
}

/// Whether a condition binds names, so that it can only stand in a chain of `&&`.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(b) => has_let(&b.left) || has_let(&b.right),
        Expr::Paren(p) => has_let(&p.expr),
        _ => false,
    }
}

/// `plants.has(..)`, also with `!` before it.
fn asks_for_plant(expr: &Expr) -> bool {
    match expr {
        Expr::Unary(u) => asks_for_plant(&u.expr),
        Expr::Paren(p) => asks_for_plant(&p.expr),
        Expr::MethodCall(call) => {
            call.method == "has" && call.receiver.to_token_stream().to_string().ends_with("plants")
        }
        _ => false,
    }
}

/// Whether a comparison, or what joins conditions, may be worked out a second time, also where the original would have
/// stopped half-way.
fn only_answers(binary: &ExprBinary) -> bool {
    let operands = [&binary.left, &binary.right];
    match binary.op {
        BinOp::And(_) | BinOp::Or(_) => operands.iter().all(|operand| harmless(operand, false)),
        BinOp::Add(_) | BinOp::Sub(_) => false,
        _ => operands.iter().all(|operand| harmless(operand, true)),
    }
}

/// Methods of the standard library that only look.
const LOOKS: &[&str] = &[
    "abs_diff",
    "as_micros",
    "as_ref",
    "as_slice",
    "contains",
    "contains_key",
    "copied",
    "first",
    "get",
    "is_empty",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "last",
    "len",
    "max",
    "min",
    "saturating_add",
    "saturating_mul",
    "saturating_sub",
];

/// Whether an expression changes nothing, and, unless it is worked out anyway, cannot panic.
fn harmless(expr: &Expr, anyway: bool) -> bool {
    match expr {
        Expr::Lit(_) | Expr::Path(_) => true,
        Expr::Paren(e) => harmless(&e.expr, anyway),
        Expr::Field(e) => harmless(&e.base, anyway),
        Expr::Unary(e) => harmless(&e.expr, anyway),
        Expr::Cast(e) => harmless(&e.expr, anyway),
        Expr::Reference(e) => e.mutability.is_none() && harmless(&e.expr, anyway),
        Expr::Index(e) => anyway && harmless(&e.expr, anyway) && harmless(&e.index, anyway),
        Expr::Binary(e) => {
            use BinOp::{And, Eq, Ge, Gt, Le, Lt, Ne, Or};
            let compares = matches!(e.op, And(_) | Or(_) | Eq(_) | Ne(_) | Lt(_) | Le(_) | Gt(_) | Ge(_));
            let allowed = compares || (anyway && !is_assignment(&e.op) && !has_let(expr));
            allowed && harmless(&e.left, anyway) && harmless(&e.right, anyway)
        }
        // `Some(x)` and the like.
        Expr::Call(e) => {
            let named = e.func.to_token_stream().to_string();
            let constructs = named.rsplit(' ').next().is_some_and(|name| name.starts_with(char::is_uppercase));
            constructs && e.args.iter().all(|argument| harmless(argument, anyway))
        }
        Expr::MethodCall(e) => {
            let looks = LOOKS.contains(&e.method.to_string().as_str());
            looks && harmless(&e.receiver, anyway) && e.args.iter().all(|argument| harmless(argument, anyway))
        }
        _ => false,
    }
}

/// `marks.reach(..)` and the like.
fn notes(expr: &Expr) -> bool {
    matches!(expr, Expr::MethodCall(call) if call.receiver.to_token_stream().to_string().ends_with("marks"))
}

/// As a reader writes it, without the spaces that tokens are printed with.
fn one_line(tokens: &TokenStream) -> String {
    tokens.to_string().split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(source: &str) -> Vec<(String, String)> {
        let all = places(source).expect("Rust");
        all.into_iter().flat_map(|p| p.changes.into_iter().map(move |c| (p.original.clone(), c.text))).collect()
    }

    fn pair(original: &str, text: &str) -> (String, String) {
        (original.to_owned(), text.to_owned())
    }

    #[test]
    fn operators_become_their_neighbours_and_their_negation() {
        let found = changes("fn f(a: u8, b: u8) -> char { if a < b && a == 3 { 'x' } else { 'y' } }");
        let expected = [
            pair("a < b && a == 3", "a < b || a == 3"),
            pair("a < b", "a <= b"),
            pair("a < b", "a >= b"),
            pair("a == 3", "a != 3"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn calls_and_assignments_are_left_out_and_functions_answer_at_once() {
        let found = changes("fn f(x: &mut u32) { *x += 1; g(x); match x { 1 => h(), _ => 3 } k() }");
        let expected = [
            pair("the body of f", "return ;"),
            pair("* x += 1 ;", "* x -= 1 ;"),
            pair("* x += 1 ;", ""),
            pair("g (x) ;", ""),
            pair("h ()", ""),
            pair("k ()", ""),
        ];
        assert_eq!(found, expected);
        let answers = changes("fn a() -> bool { g() } fn b() -> Option<u8> { g() } fn c() -> bool { false }");
        let texts: Vec<&str> = answers.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["return true ;", "return false ;", "return None ;", "return true ;"]);
    }

    #[test]
    fn what_only_answers_is_compared() {
        let comparable = |source: &str| {
            let source = format!("fn f(&mut self) -> char {{ if {source} {{ 'x' }} else {{ 'y' }} }}");
            places(&source).expect("Rust")[0].changes[0].comparable
        };
        assert!(
            comparable("a.len() + 1 < self.b[2]") && comparable("Some(a) == b.get(&c)") && comparable("a < 1 || !b")
        );
        assert!(!comparable("a.pop() == Some(b)") && !comparable("f(a) < 1") && !comparable("a < 1 && b[a] == 2"));
        assert!(!comparable("a > 0 && b - a < 1") && !comparable("(a += 1) == ()"));
    }

    #[test]
    fn what_only_notes_is_known() {
        let source =
            "fn f(&mut self) { self.marks.reach_if(a < b, M); match a { 1 => self.marks.reach(N), _ => g() } g() }";
        let noted: Vec<bool> = places(source).expect("Rust").iter().map(|place| place.only_noted).collect();
        // The body; the note, and what it depends on; the match: a note, a call; the last call.
        assert_eq!(noted, [false, true, true, true, false, false]);
    }

    #[test]
    fn what_does_not_run_is_left_alone() {
        let found = changes(
            "const A: usize = 1 + 1; const fn f() -> usize { 1 + 1 } #[cfg(test)] mod tests { fn f() { g() } }
             #[cfg(not(feature = \"sim\"))] fn f() { g() } fn g() -> char { let _: [u8; 1 + 1] = [0; 1 + 1]; 'x' }
             fn h(s: &S) -> char { if s.plants.has(P) { s.g(1 + 1) } if let Some(x) = y && s.t { 'y' } else { 'x' } }",
        );
        assert_eq!(found, []);
    }
}
