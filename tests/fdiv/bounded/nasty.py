"""Expressions that a person could type and that no algebra should be let loose on."""

from __future__ import annotations

import random

BY_HAND = (
    "-u**0.123456789012+1",
    "u**63.999999999-1",
    "((u+55)/56)**1.123456789012-1",
    "((15*u+56)/71)**1.6666666666-1",
    "u**-63.123456789-1",
    "(u-1)**64/(u+1)**63",
    "(u**32-1)**2/(u**31+1)**2",
    "((u**0.3+1)**0.7+2)**1.1-((2**0.7)+2)**1.1",
    "sqrt(1+sqrt(1+sqrt(1+sqrt(1+u))))-sqrt(1+sqrt(1+sqrt(1+sqrt(2))))",
    "Max((u-1)**2,u*log(u),-log(u),(u-1)/2,(u-1)/3,1-u,(u-1)**4,Abs(u-1)**1.5)",
    "Max(u-1.1,u/2-0.4,u/3-0.2,1-u,0.9-u/2,(u-1)**2,(u-1)**3,0)",
    "Abs(u-1)+Abs(u-2)+Abs(u-3)+Abs(u-4)+Abs(u-5)+Abs(u-6)+Abs(u-7)+Abs(u-8)-28",
    "Abs(Abs(Abs(Abs(u-1)-1)-1)-1)-1",
    "log(u)*log(u+1)*log(u+2)*log(u+3)*log(u+4)",
    "log(u)**8*log(u+1)**8/(u+2)**8",
    "log(log(log(u+20)+5)+1)-log(log(log(21)+5)+1)",
    "0.123456789012*u**0.987654321098*log(u)-0.998877665544*log(u)**3",
    "(u+0.123456789012)**0.987654321098/(u+0.55555555551)**0.111111111112",
    "log(1+exp(50*(u-2)))/50-log(1+exp(-50))/50",
    "u*log(u)-log(1+exp(1e4*(u-2)))*1e-4*0.9+1e-4*0.9*log(1+exp(-1e4))",
    "Max(1e-9*u*sqrt(u),u-2,u)*log(Max(1e-9*u*sqrt(u),u-2,u))",
    "log(1+exp(64*(u-2)))*log(1+exp(-64*(u-2)))",
    "exp(-50*(u-2)**2)-exp(-50)",
    "exp(u**7)-E",
    "exp(64*u)-exp(64)+exp(-64*u)-exp(-64)",
    "2**u*3**-u*5**u/7**u-10/21",
    "Piecewise((u*log(u),u<2),(u**3-8+2*log(2),u<3),(u**2*log(u),u<5),((u-1)**4,True))",
    "Max(u**2.5-1,u**1.5-1,u**0.5-1,-log(u),u*log(u)**2,sqrt(u**3+1)-sqrt(2))",
    "Max(exp(u)-E,u**7-1,7*log(u),Abs(u-1)**0.5)",
    "sqrt(u**4-12*u**3+54*u**2-108*u+81)-4+u*log(u)",
    "sqrt((u-1)**2*(u-2)**2*(u-3)**2*(u-4)**2)",
    "((u-1)*(u-2)*(u-3)*(u-4)*(u-5)*(u-6)*(u-7)*(u-8))**2",
    "1/(1+u)+1/(1+2*u)+1/(1+3*u)+1/(1+4*u)+1/(1+5*u)+1/(1+6*u)-1.592857142857",
    "u**64*log(u)**8-u**-64*log(u)**8",
    "u**(1/7)*u**(1/11)*u**(1/13)*u**(1/17)-1",
    "(u**(1/7)+u**(1/11)+u**(1/13))**3-27",
    "(u**pi-1)*(u**E-1)/(u**sqrt(2)+1)",
    "Max(u*log(u),u*log(u)+1e12*1e2*(u-2)*(2.001-u)*((u-2-1/1750)**2+1e-12*1e-12*1e-6))",
    "((((u+1)**2+1)**2+1)**2+1)**2-458330",
    "(u+1/(u+1/(u+1/(u+1/(u+1/(u+1))))))**2-(21/13)**2",
    "log(u**3+u+1)-log(3)*log(u**2+u+1)*log(u+2)/log(3)/log(3)",
    "1e12*1e12*1e12*(u-1)**2+1e-12*1e-12*1e-12*u**3-1e-12*1e-12*1e-12",
    "exp(Max(((1e9*(u+987654321012)-((u-1))**7.3))*log((1e9*(u+987654321012)-((u-1))**7.3)),u))",
    "2**(1e12*(u-1))-1",
    "(exp((u+987654321012)*u))*Min(exp(u**0.123456789012),(u-3)*(u+pi)/log(u+0.123456789012))",
    "Max(u**0.123456789012,Abs(u-1536))-1535",
    "Abs(u-1536)-u**0.123456789012-1534",
    "u*log(u)+56**0.12345-8**0.12345*7**0.12345",
    "-(56*u)**0.123456789012+8**0.123456789012*7**0.123456789012",
    "Max(56**0.123456789012*u-8**0.123456789012*7**0.123456789012,0)",
    "(u-1)**2*((56+sqrt(2))**0.123456789012*(56-sqrt(2))**0.123456789012-3134**0.123456789012+1)",
    "56**(0.123456789012*u)-56**0.123456789012",
    "-log(u)/2+(sqrt(u)-1)**2+Abs(u-1)**3/(u+1)**2+u*log(2*u/(1+u))+log(2/(1+u))",
)  # fmt: skip
"""Huge and odd powers, towers of roots, many kinks, products of logarithms, steep exponentials, deep fractions."""

_POWERS = (2, 3, 7, 16, 31, 64, -1, -3, -17, -64, "0.5", "1.5", "0.123456789012", "-0.987654321", "7.3", "(1/3)",
           "sqrt(2)", "pi")  # fmt: skip
_NUMBERS = ("2", "3", "0.5", "0.123456789012", "1e-9", "1e9", "(22/7)", "pi", "sqrt(3)", "E", "987654321012", "1/19")


def drawn(seed: int) -> str:
    """Draw an expression, seldom a divergence: up to five operations deep, f(1) = 0 taken care of in half of them."""
    draw = random.Random(seed)
    text = _node(draw, draw.randint(2, 5))
    if draw.random() < 0.5 and len(text) < 200:
        text = f"{text}-({text.replace('u', '1')})"
    return text


def _node(draw: random.Random, depth: int) -> str:
    if depth == 0:
        return draw.choice(["u", "u", "u", f"(u-{draw.randint(1, 9)})", f"(u+{draw.choice(_NUMBERS)})"])
    a = _node(draw, depth - 1)
    kind = draw.choice(["+", "*", "-", "/", "^", "log", "exp", "sqrt", "Abs", "Max", "scaled", "entropy"])
    if kind in "+*-/":
        return f"({a}{kind}{_node(draw, draw.randint(0, depth - 1))})"
    if kind == "^":
        return f"({a})**{draw.choice(_POWERS)}"
    if kind in ("log", "exp", "sqrt", "Abs"):
        return f"{kind}({a})"
    if kind == "Max":
        others = ",".join(_node(draw, draw.randint(0, depth - 1)) for _ in range(draw.randint(1, 4)))
        return f"{draw.choice(['Max', 'Min'])}({a},{others})"
    return f"{draw.choice(_NUMBERS)}*{a}" if kind == "scaled" else f"({a})*log({a})"
