//! The `#[test]` of tests/it. libtest knows no test that finds out only when it runs that it cannot be
//! made on this machine. With this, `common::needs` ends one from anywhere within it.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// As the `#[test]` of Rust, with the body of the function as a closure in `common::needs::may_skip`.
#[proc_macro_attribute]
pub fn test(_: TokenStream, function: TokenStream) -> TokenStream {
    let mut function: Vec<TokenTree> = function.into_iter().collect();
    // What is no function is left to the compiler to complain about.
    if let (Some(name), Some(body)) = (name_of(&function), function.pop()) {
        let mut call = code(&format!(
            "crate::common::needs::may_skip(concat!(module_path!(), \"::\", stringify!({name})), || ())"
        ));
        if let Some(TokenTree::Group(arguments)) = call.pop() {
            let mut arguments: Vec<TokenTree> = arguments.stream().into_iter().collect();
            arguments.pop();
            arguments.push(body);
            call.push(group(Delimiter::Parenthesis, arguments));
        }
        function.push(group(Delimiter::Brace, call));
    }
    let mut all = code("#[::core::prelude::v1::test]");
    all.extend(function);
    all.into_iter().collect()
}

/// The word after `fn`.
fn name_of(function: &[TokenTree]) -> Option<String> {
    let mut words = function.iter().map(ToString::to_string);
    words.find(|word| word == "fn")?;
    words.next()
}

fn code(text: &str) -> Vec<TokenTree> {
    let tokens = text.parse::<TokenStream>().unwrap_or_default();
    tokens.into_iter().collect()
}

fn group(delimiter: Delimiter, content: Vec<TokenTree>) -> TokenTree {
    Group::new(delimiter, content.into_iter().collect()).into()
}
