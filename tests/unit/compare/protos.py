"""Schemas for tests, made with Google's own descriptors."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

Kinds = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "double": Kinds.TYPE_DOUBLE, "float": Kinds.TYPE_FLOAT, "int64": Kinds.TYPE_INT64, "uint64": Kinds.TYPE_UINT64,
    "int32": Kinds.TYPE_INT32, "fixed64": Kinds.TYPE_FIXED64, "fixed32": Kinds.TYPE_FIXED32, "bool": Kinds.TYPE_BOOL,
    "string": Kinds.TYPE_STRING, "bytes": Kinds.TYPE_BYTES, "uint32": Kinds.TYPE_UINT32,
    "sfixed32": Kinds.TYPE_SFIXED32, "sfixed64": Kinds.TYPE_SFIXED64, "sint32": Kinds.TYPE_SINT32,
    "sint64": Kinds.TYPE_SINT64,
}  # fmt: skip
COLOURS = (("NONE", 0), ("RED", 1), ("BLUE", 2), ("ODD", -1))


def field(message: Any, name: str, number: int, of: str, repeated: bool = False, **more: Any) -> Any:
    """``of``: a scalar, or ``.package.Message``; an enumeration as ``enum .package.Colour``."""
    made = message.field.add(name=name, number=number, label=3 if repeated else 1, **more)
    kind, _, named = of.rpartition(" ")
    if named.startswith("."):
        made.type = Kinds.TYPE_ENUM if kind == "enum" else Kinds.TYPE_GROUP if kind == "group" else Kinds.TYPE_MESSAGE
        made.type_name = named
    else:
        made.type = SCALARS[named]
    return made


def mapped(message: Any, name: str, number: int, key: str, value: str, scope: str) -> None:
    entry = message.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    field(entry, "key", 1, key)
    field(entry, "value", 2, value)
    field(message, name, number, f"{scope}.{entry.name}", repeated=True)


def file_of(syntax: str, packed: bool = True, package: str = "all") -> Any:
    """A message ``Everything`` with fields of all kinds; a part of them in ``Less``."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax=syntax, dependency=["google/protobuf/any.proto"]
    )
    colour = file.enum_type.add(name="Colour")
    for name, number in COLOURS:
        colour.value.add(name=name, number=number)
    message = file.message_type.add(name="Everything")
    scope = f".{package}.Everything"
    number = 0
    for name in SCALARS:
        number += 1
        field(message, f"one_{name}", number, name)
        number += 1
        several = field(message, f"some_{name}", number, name, repeated=True)
        if name not in ("string", "bytes"):
            several.options.packed = packed
        if syntax == "proto3":
            number += 1
            field(message, f"maybe_{name}", number, name, proto3_optional=True, oneof_index=number - 1)
    optional = [one for one in message.field if one.proto3_optional]
    message.oneof_decl.add(name="choice")
    for at, one in enumerate(optional, start=1):
        one.oneof_index = at
        message.oneof_decl.add(name=f"_{one.name}")
    field(message, "colour", 101, f"enum .{package}.Colour")
    field(message, "colours", 102, f"enum .{package}.Colour", repeated=True).options.packed = packed
    field(message, "inner", 103, scope)
    field(message, "inners", 104, scope, repeated=True)
    field(message, "chosen_text", 105, "string", oneof_index=0)
    field(message, "chosen_number", 106, "sint32", oneof_index=0)
    field(message, "chosen_inner", 107, scope, oneof_index=0)
    field(message, "held", 108, ".google.protobuf.Any")
    mapped(message, "stock", 109, "string", "int64", scope)
    mapped(message, "flags", 110, "bool", f"enum .{package}.Colour", scope)
    mapped(message, "parts", 111, "sint32", scope, scope)
    if syntax != "proto3":
        grouped = message.nested_type.add(name="Grouped")
        field(grouped, "depth", 1, "int32")
        field(message, "grouped", 112, f"group {scope}.Grouped")
    less = file.message_type.add(name="Less")
    field(less, "one_double", 1, "double")
    return file


def pool_of(*files: Any) -> Any:
    pool = descriptor_pool.DescriptorPool()
    any_file = descriptor_pb2.FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(any_file)
    for file in (any_file, *files):
        pool.Add(file)
    return pool


def class_of(pool: Any, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def set_of(*files: Any) -> bytes:
    """The bytes of a FileDescriptorSet with what they import."""
    found = descriptor_pb2.FileDescriptorSet()
    any_pb2.DESCRIPTOR.CopyToProto(found.file.add())
    found.file.extend(files)
    return bytes(found.SerializeToString())
