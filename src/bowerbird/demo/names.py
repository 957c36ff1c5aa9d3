"""Names that a person can read, from Complete Journey's product codes.

``SFT DRNK 2 LITER BTL CARB INCL`` becomes "Soft drink, 2 litre bottle"; ``TRADITIONAL`` of
``ICE CREAM/MILK/SHERBTS`` becomes "Ice cream, traditional".
"""

from __future__ import annotations

import re

_WHOLE = {
    "SFT DRNK 2 LITER BTL CARB INCL": "Soft drink, 2 litre bottle",
    "SOFT DRINKS 12/18&15PK CAN CAR": "Soft drink, cans",
    "SFT DRNK SNGL SRV BTL CARB (EX": "Soft drink, single bottle",
    "FLUID MILK WHITE ONLY": "Milk",
    "YOGURT NOT MULTI-PACKS": "Yogurt",
    "BEERALEMALT LIQUORS": "Beer",
    "IWS SINGLE CHEESE": "Cheese slices",
    "DAIRY CASE 100% PURE JUICE - O": "Orange juice, chilled",
    "DAIRY CASE JUICE DRNK UNDER 10": "Juice drink, chilled",
    "ASEPTIC PACK JUICE AND DRINKS": "Juice packs",
    "SANDWICHES&HANDHELDS": "Frozen sandwiches",
    "CARDS EVERYDAY": "Greeting card",
    "PASTA: CANNED": "Canned pasta",
    "MAINSTREAM WHEAT/MULTIGRAIN BR": "Wheat or multigrain bread",
}
_WORDS = {
    "BKD": "baked",
    "BR": "bread",
    "BTL": "bottle",
    "BTR": "butter",
    "CARB": "",
    "CKE": "cake",
    "CLEANG": "cleaning",
    "CRACKE": "crackers",
    "DNRS": "dinners",
    "DOGFD": "dog food",
    "DRNK": "drink",
    "DRNKS": "drinks",
    "DRSNG": "dressing",
    "DSH": "dishes",
    "FD": "food",
    "FEM": "feminine",
    "FRZN": "frozen",
    "HANDKE": "handkerchiefs",
    "HYGN": "hygiene",
    "LIQ": "alcohol",
    "LIQS": "liquids",
    "MACH": "machine",
    "MISC": "various",
    "MLT-PK": "multi-pack",
    "PKG": "package",
    "PNT": "peanut",
    "PREM": "premium",
    "REFRIG": "refrigerated",
    "REFRGRATD": "refrigerated",
    "SALD": "salad",
    "SECT": "sections",
    "SFT": "soft",
    "SGL": "single",
    "SNDWCH": "sandwich",
    "SNGL": "single",
    "SPECILATY": "specialty",
    "SPLY": "supplies",
    "SPRD": "spread",
    "SRV": "serve",
    "SRVE": "serve",
    "SS": "single-serve",
    "SV": "serve",
    "TISS": "tissue",
    "TORT": "tortilla",
    "TRSH": "trash",
    "VEG": "vegetable",
    "VEND": "vending",
}
_DROPPED = re.compile(
    r"\([^)]*\)?|\b(ALL|INCL|INCLUDING|EXC|ONLY|BULK|ALL OTHER|GENERAL)\b\s*$|[\s/]\w$"
)
_SAYS_TOO_LITTLE = {
    "CHOICE",
    "CONDENSED",
    "CUBED MEATS",
    "DIPS",
    "ECONOMY - MEAT",
    "ENHANCED",
    "LEAN",
    "LOIN",
    "MAINSTREAM",
    "MISCELLANEOUS",
    "NATURAL",
    "POULTRY",
    "PREMIUM",
    "PREMIUM - BEEF",
    "PREMIUM - MEAT",
    "PRIMAL",
    "PROCESSED",
    "REGULAR",
    "SELECT",
    "SMOKED/COOKED",
    "SPECIALTY",
    "SUPER PREMIUM",
    "TRADITIONAL",
    "VALUE",
}
_DEPARTMENTS = {
    "DRUG GM": "Home & care",
    "GM MERCH EXP": "Home & care",
    "MEAT-PCKGD": "Packaged meat",
    "SEAFOOD-PCKGD": "Packaged seafood",
}


def product_name(product_type: str | None, category: str | None) -> str:
    """The type in plain words; after the category where the type alone says too little."""
    if not product_type:
        return _sentence(category or "")
    if product_type in _WHOLE:
        return _WHOLE[product_type]
    if product_type in _SAYS_TOO_LITTLE and category:
        return f"{_first(category)}, {_sentence(product_type).lower()}"
    head, colon, tail = product_type.partition(":")
    if colon and head == "MEAT":
        return _sentence(tail)
    if colon and tail.strip():
        return f"{_sentence(tail)} {_sentence(head).lower()}"
    return _sentence(product_type)


def department_name(department: str | None, category: str | None) -> str:
    """The aisle: groceries, two thirds of everything, go by category; the rest by department."""
    if department == "GROCERY" and category:
        return _first(category)
    return _DEPARTMENTS.get(department or "", _sentence(department or ""))


def detail(brand: str | None, size: str | None, department: str | None = None) -> str:
    """The size and whether it is the store's own brand, as far as they are known.

    The size of produce is that of the crate.
    """
    size = None if department == "PRODUCE" else size
    known = re.sub(r"^\d{5,}\s+", "", size or "").lower().replace(" dz", " dozen")
    return " · ".join(part for part in (known, "store brand" if brand == "Private" else "") if part)


def _first(text: str) -> str:
    return _sentence(re.split(r"/| - |-ALL", text)[0])


def _sentence(text: str) -> str:
    text = _DROPPED.sub(" ", _DROPPED.sub(" ", text))
    text = re.sub(r"\bW/", "with ", text).strip(" -/&:")
    words = [_WORDS.get(word, word) for word in re.split(r"[\s.]+|(?=/)|(?<=/)", text) if word]
    plain = " ".join(word for word in words if word).lower()
    plain = re.sub(r"\s*/\s*", " / ", re.sub(r"\s*&\s*", " & ", plain)).replace(" - ", ", ")
    return plain[:1].upper() + plain[1:]
