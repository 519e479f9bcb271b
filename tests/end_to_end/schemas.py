"""JSON schemas of many kinds, from a seed, in what the server supports."""
import random

WORDS = ["id", "name", "city", "count", "price", "tags", "notes", "kind", "when", "size", "ok", "x y",
         "größe", "quote\"d"]


class SchemaMaker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def make(self):
        schema = self.object(depth=0)
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema

    def value(self, depth):
        kinds = [self.string, self.integer, self.number, self.boolean, self.enum, self.const]
        if depth < 3:
            kinds += [self.object, self.array, self.any_of, self.one_of, self.types, self.reference]
        return self.random.choice(kinds)(depth)

    def object(self, depth):
        if depth > 0 and self.random.random() < 0.15:
            schema = {"type": "object", "additionalProperties": self.value(depth + 1)}
            if self.random.random() < 0.5:
                schema["maxProperties"] = self.random.randint(0, 4)
            return schema
        names = self.random.sample(WORDS, self.random.randint(1, 5))
        schema = {"type": "object", "properties": {name: self.value(depth + 1) for name in names}}
        required = [name for name in names if self.random.random() < 0.6]
        if required:
            schema["required"] = required
        if self.random.random() < 0.5:
            schema["additionalProperties"] = False
        return schema

    def array(self, depth):
        schema = {"type": "array", "items": self.value(depth + 1)}
        least = self.random.choice([0, 0, 1, 2])
        if least:
            schema["minItems"] = least
        if self.random.random() < 0.7:
            schema["maxItems"] = least + self.random.randint(0, 4)
        if self.random.random() < 0.2:
            schema["prefixItems"] = [self.value(depth + 1)]
            schema["maxItems"] = max(schema.get("maxItems", 2), 1)
        return schema

    def string(self, depth):
        kind = self.random.randrange(5)
        schema = {"type": "string"}
        if kind == 1:
            schema["minLength"] = self.random.randint(0, 6)
            schema["maxLength"] = schema["minLength"] + self.random.randint(0, 40)
        elif kind == 2:
            schema["pattern"] = self.random.choice(
                ["^[A-Z]{2,4}-[0-9]{1,5}$", "^\\d{3}$", "^(red|green|blue)( (light|dark))?$",
                 "^[a-z]+(\\.[a-z]+)*$", "[^x]{1,10}", "^#[0-9a-f]{6}$"])
        elif kind == 3:
            schema["format"] = self.random.choice(
                ["date", "time", "date-time", "uuid", "ipv4", "email", "no-such-format"])
        else:
            schema["maxLength"] = self.random.randint(0, 60)
        return schema

    def integer(self, depth):
        return {"type": "integer", **self.bounds(lambda: self.random.randint(-3000, 3000))}

    def number(self, depth):
        return {"type": "number", **self.bounds(lambda: self.random.randint(-9999, 9999) / 100)}

    def bounds(self, draw):
        low, high = sorted([draw(), draw()])
        bounds = {}
        if self.random.random() < 0.5:
            bounds[self.random.choice(["minimum", "exclusiveMinimum"])] = low
        if self.random.random() < 0.5:
            bounds[self.random.choice(["maximum", "exclusiveMaximum"])] = high + 2
        return bounds

    def boolean(self, depth):
        return {"type": "boolean"}

    def enum(self, depth):
        values = ["red", "green", "ein \"Wort\"", 7, -1.5, None, True, {"a": [1]}]
        return {"enum": self.random.sample(values, self.random.randint(1, 5))}

    def const(self, depth):
        return {"const": self.random.choice(["fixed", 3, None, [1, "two"]])}

    def any_of(self, depth):
        return {"anyOf": [self.value(depth + 1) for _ in range(self.random.randint(1, 3))]}

    def one_of(self, depth):
        def tagged(tag):
            schema = self.object(depth + 1)
            schema.pop("maxProperties", None)
            schema["properties"] = {"tag": {"const": tag}, **schema.get("properties", {})}
            schema["required"] = ["tag"]
            return schema
        return {"oneOf": [tagged(tag) for tag in ("a", "b")] + [{"type": "null"}]}

    def types(self, depth):
        return {"type": self.random.sample(["string", "integer", "boolean", "null"], 2)}

    def reference(self, depth):
        """To a definition that may contain itself."""
        name = f"d{len(self.definitions)}"
        self.definitions[name] = {}
        self.definitions[name] = {
            "type": "object",
            "properties": {"value": self.value(depth + 1), "next": {"$ref": f"#/$defs/{name}"}},
            "required": ["value"]}
        return {"$ref": f"#/$defs/{name}", "description": "a list"}


def make_schema(seed):
    return SchemaMaker(seed).make()


if __name__ == "__main__":
    import json
    import sys
    for number in range(1, int(sys.argv[1]) + 1):
        print(json.dumps(make_schema(number), ensure_ascii=False))
