// References between the types of an assembly, read from its metadata and its methods' code without loading it.
using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Atelier.Architecture.Tests;

/// <summary>A top-level type; nested and compiler-generated types count as part of it.</summary>
internal sealed record AssemblyType(string Namespace, string Name)
{
    /// <summary>Types of the same assembly that its declarations and its code refer to.</summary>
    public HashSet<AssemblyType> Uses { get; } = [];
}

internal sealed class AssemblyReader : IDisposable
{
    private static readonly Dictionary<int, OperandType> s_operands = typeof(OpCodes).GetFields()
        .Select(field => (OpCode)field.GetValue(null)!)
        .ToDictionary(code => (int)(ushort)code.Value, code => code.OperandType);

    private readonly PEReader _file;
    private readonly MetadataReader _metadata;
    private readonly Dictionary<TypeDefinitionHandle, AssemblyType> _types = [];

    private AssemblyReader(string path)
    {
        _file = new PEReader(File.OpenRead(path));
        _metadata = _file.GetMetadataReader();
        var byName = new Dictionary<(string, string), AssemblyType>();
        foreach (TypeDefinitionHandle handle in _metadata.TypeDefinitions)
        {
            TypeDefinition outer = _metadata.GetTypeDefinition(handle);
            while (!outer.GetDeclaringType().IsNil)
            {
                outer = _metadata.GetTypeDefinition(outer.GetDeclaringType());
            }

            string name = _metadata.GetString(outer.Name).Split('`')[0];
            var type = new AssemblyType(_metadata.GetString(outer.Namespace), name);
            _types[handle] = byName.GetValueOrDefault((type.Namespace, name)) ?? (
                byName[(type.Namespace, name)] = type);
        }
    }

    /// <summary>The types of an assembly with their references.</summary>
    public static IReadOnlyList<AssemblyType> Types(string path)
    {
        using var reader = new AssemblyReader(path);
        foreach ((TypeDefinitionHandle handle, AssemblyType type) in reader._types)
        {
            reader.AddUses(handle, type.Uses);
            type.Uses.Remove(type);
        }

        return [.. reader._types.Values.Distinct()];
    }

    /// <summary>
    /// Names of the types that people wrote and that are seen outside of one file: with the number of type parameters,
    /// and in full.
    /// </summary>
    public static IReadOnlyList<(string Name, string FullName)> Names(string path)
    {
        using var reader = new AssemblyReader(path);
        MetadataReader metadata = reader._metadata;
        return
        [
            .. from type in metadata.TypeDefinitions.Select(metadata.GetTypeDefinition)
               let name = metadata.GetString(type.Name)
               let outer = Outer(type)
               let space = metadata.GetString(outer.Namespace)
               where space.StartsWith("Atelier.", StringComparison.Ordinal)
                   && !name.Contains('<', StringComparison.Ordinal)
                   && (type.Attributes & TypeAttributes.VisibilityMask) != TypeAttributes.NestedPrivate
               select (name, $"{space}.{metadata.GetString(outer.Name)}/{name}"),
        ];

        TypeDefinition Outer(TypeDefinition type)
        {
            while (!type.GetDeclaringType().IsNil)
            {
                type = metadata.GetTypeDefinition(type.GetDeclaringType());
            }

            return type;
        }
    }

    /// <summary>Names of all types, including nested ones, with the names of their members.</summary>
    public static ILookup<string, string> Members(string path)
    {
        using var reader = new AssemblyReader(path);
        MetadataReader metadata = reader._metadata;
        return metadata.TypeDefinitions.Select(metadata.GetTypeDefinition)
            .SelectMany(type => new[]
            {
                type.GetMethods().Select(member => metadata.GetMethodDefinition(member).Name),
                type.GetFields().Select(member => metadata.GetFieldDefinition(member).Name),
                type.GetProperties().Select(member => metadata.GetPropertyDefinition(member).Name),
                type.GetEvents().Select(member => metadata.GetEventDefinition(member).Name),
                type.GetNestedTypes().Select(member => metadata.GetTypeDefinition(member).Name),
            }.SelectMany(names => names).Select(name => (
                Type: metadata.GetString(type.Name).Split('`')[0], Member: metadata.GetString(name).Split('.')[^1])))
            .ToLookup(pair => pair.Type, pair => pair.Member, StringComparer.Ordinal);
    }

    public void Dispose() => _file.Dispose();

    private void AddUses(TypeDefinitionHandle handle, HashSet<AssemblyType> uses)
    {
        TypeDefinition type = _metadata.GetTypeDefinition(handle);
        var decoder = new UseDecoder(this, uses);
        Add(type.BaseType);
        foreach (InterfaceImplementationHandle implemented in type.GetInterfaceImplementations())
        {
            Add(_metadata.GetInterfaceImplementation(implemented).Interface);
        }

        AddConstraints(type.GetGenericParameters());
        AddAttributes(type.GetCustomAttributes());
        foreach (FieldDefinitionHandle field in type.GetFields())
        {
            _metadata.GetFieldDefinition(field).DecodeSignature(decoder, null);
            AddAttributes(_metadata.GetFieldDefinition(field).GetCustomAttributes());
        }

        foreach (PropertyDefinitionHandle property in type.GetProperties())
        {
            AddAttributes(_metadata.GetPropertyDefinition(property).GetCustomAttributes());
        }

        foreach (MethodDefinitionHandle methodHandle in type.GetMethods())
        {
            MethodDefinition method = _metadata.GetMethodDefinition(methodHandle);
            method.DecodeSignature(decoder, null);
            AddConstraints(method.GetGenericParameters());
            AddAttributes(method.GetCustomAttributes());
            if (method.RelativeVirtualAddress != 0)
            {
                AddBody(_file.GetMethodBody(method.RelativeVirtualAddress));
            }
        }

        void AddConstraints(GenericParameterHandleCollection parameters)
        {
            foreach (GenericParameterConstraintHandle constraint in parameters
                .SelectMany(parameter => _metadata.GetGenericParameter(parameter).GetConstraints()))
            {
                Add(_metadata.GetGenericParameterConstraint(constraint).Type);
            }
        }

        void AddAttributes(CustomAttributeHandleCollection attributes)
        {
            foreach (CustomAttributeHandle attribute in attributes)
            {
                Add(_metadata.GetCustomAttribute(attribute).Constructor);
            }
        }

        void AddBody(MethodBodyBlock body)
        {
            if (!body.LocalSignature.IsNil)
            {
                _metadata.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(decoder, null);
            }

            foreach (ExceptionRegion region in body.ExceptionRegions)
            {
                Add(region.CatchType);
            }

            BlobReader code = body.GetILReader();
            while (code.RemainingBytes > 0)
            {
                int value = code.ReadByte();
                switch (s_operands[value == 0xFE ? 0xFE00 | code.ReadByte() : value])
                {
                    case OperandType.InlineNone: break;
                    case OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar:
                        code.ReadByte();
                        break;
                    case OperandType.InlineVar: code.ReadInt16(); break;
                    case OperandType.InlineI8 or OperandType.InlineR: code.ReadInt64(); break;
                    case OperandType.InlineSwitch:
                        int targets = code.ReadInt32();
                        code.Offset += 4 * targets;
                        break;
                    case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok
                        or OperandType.InlineType:
                        Add(MetadataTokens.EntityHandle(code.ReadInt32()));
                        break;
                    default: code.ReadInt32(); break;
                }
            }
        }

        // A type, or a member together with the types of its signature.
        void Add(EntityHandle entity)
        {
            switch (entity.IsNil ? default : entity.Kind)
            {
                case HandleKind.TypeDefinition when !entity.IsNil:
                    uses.Add(_types[(TypeDefinitionHandle)entity]);
                    break;
                case HandleKind.TypeSpecification:
                    _metadata.GetTypeSpecification((TypeSpecificationHandle)entity).DecodeSignature(decoder, null);
                    break;
                case HandleKind.MethodDefinition:
                    uses.Add(_types[_metadata.GetMethodDefinition((MethodDefinitionHandle)entity).GetDeclaringType()]);
                    break;
                case HandleKind.FieldDefinition:
                    uses.Add(_types[_metadata.GetFieldDefinition((FieldDefinitionHandle)entity).GetDeclaringType()]);
                    break;
                case HandleKind.MemberReference:
                    Add(_metadata.GetMemberReference((MemberReferenceHandle)entity).Parent);
                    break;
                case HandleKind.MethodSpecification:
                    MethodSpecification method = _metadata.GetMethodSpecification((MethodSpecificationHandle)entity);
                    Add(method.Method);
                    method.DecodeSignature(decoder, null);
                    break;
            }
        }
    }

    /// <summary>Collects the type definitions that a signature names; the decoded types are not needed.</summary>
    private sealed class UseDecoder(AssemblyReader reader, HashSet<AssemblyType> uses)
        : ISignatureTypeProvider<bool, object?>
    {
        public bool GetTypeFromDefinition(MetadataReader metadata, TypeDefinitionHandle handle, byte rawTypeKind) =>
            uses.Add(reader._types[handle]);

        public bool GetTypeFromSpecification(
            MetadataReader metadata, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
            metadata.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

        public bool GetTypeFromReference(MetadataReader metadata, TypeReferenceHandle handle, byte rawTypeKind) =>
            false;

        public bool GetPrimitiveType(PrimitiveTypeCode typeCode) => false;

        public bool GetArrayType(bool elementType, ArrayShape shape) => false;

        public bool GetSZArrayType(bool elementType) => false;

        public bool GetByReferenceType(bool elementType) => false;

        public bool GetPointerType(bool elementType) => false;

        public bool GetPinnedType(bool elementType) => false;

        public bool GetModifiedType(bool modifier, bool unmodifiedType, bool isRequired) => false;

        public bool GetFunctionPointerType(MethodSignature<bool> signature) => false;

        public bool GetGenericInstantiation(bool genericType, ImmutableArray<bool> typeArguments) => false;

        public bool GetGenericMethodParameter(object? genericContext, int index) => false;

        public bool GetGenericTypeParameter(object? genericContext, int index) => false;
    }
}
