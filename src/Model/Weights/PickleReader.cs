// A reader of Python pickles as data (opcodes as documented in CPython's Lib/pickletools.py, protocols 2 to 4 and the
// opcodes of 1 that they use). A pickle is a program for a stack machine that may name and call any function. This
// machine cannot call anything: a global is an entry of a fixed table, and "reduce" constructs one of a few known
// values. The machine does not recurse, so nesting costs nothing, and it limits the numbers of opcodes, values and memo
// entries.
using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Atelier.Model.Weights;

/// <summary>The stack machine for one pickle.</summary>
internal sealed class PickleReader(PickleInput input, TorchObjects objects)
{
    private const int MaxOpcodes = 4 << 20;
    private const int MaxStack = 1 << 20;
    private const int MaxMemo = 1 << 20;
    private const int MaxIntegerBytes = 1024;
    private const int MaxProtocol = 5;

    private static readonly UTF8Encoding s_strictUtf8 = new(false, throwOnInvalidBytes: true);

    private readonly List<object?> _stack = [];
    private readonly List<int> _marks = [];
    private readonly Dictionary<long, object?> _memo = [];

    private enum Opcode : byte
    {
        Mark = (byte)'(', Stop = (byte)'.', Pop = (byte)'0', PopMark = (byte)'1', Dup = (byte)'2',
        None = (byte)'N', NewTrue = 0x88, NewFalse = 0x89,
        BinInt = (byte)'J', BinInt1 = (byte)'K', BinInt2 = (byte)'M', Long1 = 0x8a, Long4 = 0x8b, BinFloat = (byte)'G',
        BinString = (byte)'T', ShortBinString = (byte)'U',
        BinUnicode = (byte)'X', ShortBinUnicode = 0x8c, BinUnicode8 = 0x8d,
        BinBytes = (byte)'B', ShortBinBytes = (byte)'C', BinBytes8 = 0x8e,
        EmptyList = (byte)']', Append = (byte)'a', Appends = (byte)'e', List = (byte)'l',
        EmptyTuple = (byte)')', Tuple = (byte)'t', Tuple1 = 0x85, Tuple2 = 0x86, Tuple3 = 0x87,
        EmptyDict = (byte)'}', Dict = (byte)'d', SetItem = (byte)'s', SetItems = (byte)'u',
        BinGet = (byte)'h', LongBinGet = (byte)'j', BinPut = (byte)'q', LongBinPut = (byte)'r', Memoize = 0x94,
        Global = (byte)'c', StackGlobal = 0x93, Reduce = (byte)'R', Build = (byte)'b', BinPersId = (byte)'Q',
        Proto = 0x80, Frame = 0x95,
    }

    /// <summary>Runs the pickle and returns its one resulting value.</summary>
    public object? Read()
    {
        for (var count = 0; count < MaxOpcodes; count++)
        {
            var opcode = (Opcode)input.Byte();
            if (opcode == Opcode.Stop)
            {
                return _stack.Count == 1 && _marks.Count == 0
                    ? _stack[0]
                    : throw input.Refuse($"the pickle stops with {_stack.Count} values on its stack instead of one");
            }

            if (!Literal(opcode) && !Container(opcode) && !Object(opcode))
            {
                throw input.Refuse($"opcode 0x{(byte)opcode:x2} is not supported");
            }
        }

        throw input.Refuse($"the pickle has more than {MaxOpcodes} opcodes");
    }

    private bool Literal(Opcode opcode)
    {
        switch (opcode)
        {
            case Opcode.None: Push(null); break;
            case Opcode.NewTrue: Push(true); break;
            case Opcode.NewFalse: Push(false); break;
            case Opcode.BinInt: Push((long)BinaryPrimitives.ReadInt32LittleEndian(input.Take(4))); break;
            case Opcode.BinInt1: Push((long)input.Byte()); break;
            case Opcode.BinInt2: Push((long)BinaryPrimitives.ReadUInt16LittleEndian(input.Take(2))); break;
            case Opcode.Long1: PushInteger(input.Byte()); break;
            case Opcode.Long4: PushInteger(BinaryPrimitives.ReadInt32LittleEndian(input.Take(4))); break;
            case Opcode.BinFloat: Push(BinaryPrimitives.ReadDoubleBigEndian(input.Take(8))); break;
            case Opcode.ShortBinString: Push(Encoding.Latin1.GetString(input.Take(input.Byte()))); break;
            case Opcode.BinString: Push(Encoding.Latin1.GetString(input.Take(Length4()))); break;
            case Opcode.ShortBinUnicode: Push(Text(input.Byte())); break;
            case Opcode.BinUnicode: Push(Text(Length4())); break;
            case Opcode.BinUnicode8: Push(Text(Length8())); break;
            case Opcode.ShortBinBytes: Push(input.Take(input.Byte()).ToArray()); break;
            case Opcode.BinBytes: Push(input.Take(Length4()).ToArray()); break;
            case Opcode.BinBytes8: Push(input.Take(Length8()).ToArray()); break;
            default: return false;
        }

        return true;
    }

    private bool Container(Opcode opcode)
    {
        switch (opcode)
        {
            case Opcode.Mark: Mark(); break;
            case Opcode.Pop: Pop(); break;
            case Opcode.PopMark: PopToMark(); break;
            case Opcode.Dup: Push(Peek()); break;
            case Opcode.EmptyTuple: Push(PickleTuple.Empty); break;
            case Opcode.Tuple: Push(new PickleTuple(PopToMark())); break;
            case Opcode.Tuple1: Push(new PickleTuple(PopMany(1))); break;
            case Opcode.Tuple2: Push(new PickleTuple(PopMany(2))); break;
            case Opcode.Tuple3: Push(new PickleTuple(PopMany(3))); break;
            case Opcode.EmptyList: Push(new PickleList()); break;
            case Opcode.List: PushFilled(new PickleList()); break;
            case Opcode.Append: Extend(PopMany(1)); break;
            case Opcode.Appends: Extend(PopToMark()); break;
            case Opcode.EmptyDict: Push(new PickleDict()); break;
            case Opcode.Dict: PushFilled(new PickleDict()); break;
            case Opcode.SetItem: Extend(PopMany(2)); break;
            case Opcode.SetItems: Extend(PopToMark()); break;
            default: return false;
        }

        return true;
    }

    private bool Object(Opcode opcode)
    {
        switch (opcode)
        {
            case Opcode.Proto: CheckProtocol(input.Byte()); break;
            case Opcode.Frame: input.Take(8); break;    // A hint for buffering, which is not needed.
            case Opcode.BinPut: Store(input.Byte()); break;
            case Opcode.LongBinPut: Store(Length4()); break;
            case Opcode.Memoize: Store(_memo.Count); break;
            case Opcode.BinGet: Push(Recall(input.Byte())); break;
            case Opcode.LongBinGet: Push(Recall(Length4())); break;
            case Opcode.Global: Push(TorchObjects.Find(input, input.Line(), input.Line())); break;
            case Opcode.StackGlobal: StackGlobal(); break;
            case Opcode.BinPersId: Push(objects.Storage(input, Pop())); break;
            case Opcode.Reduce: Reduce(); break;
            case Opcode.Build: Build(); break;
            default: return false;
        }

        return true;
    }

    private void CheckProtocol(byte protocol)
    {
        if (protocol > MaxProtocol)
        {
            throw input.Refuse($"pickle protocol {protocol} is not supported");
        }
    }

    private long Length4() => BinaryPrimitives.ReadUInt32LittleEndian(input.Take(4));

    private long Length8() => BinaryPrimitives.ReadInt64LittleEndian(input.Take(8));

    private string Text(long length)
    {
        var bytes = input.Take(length);
        try
        {
            return s_strictUtf8.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            throw input.Refuse("a string is not UTF-8");
        }
    }

    private void PushInteger(int length)
    {
        if (length is < 0 or > MaxIntegerBytes)
        {
            throw input.Refuse($"an integer has {length} bytes; at most {MaxIntegerBytes} are allowed");
        }

        var number = new BigInteger(input.Take(length));
        if (number >= long.MinValue && number <= long.MaxValue)
        {
            Push((long)number);
        }
        else
        {
            Push(number);
        }
    }

    private void Push(object? value)
    {
        if (_stack.Count == MaxStack)
        {
            throw input.Refuse($"more than {MaxStack} values are on the stack");
        }

        _stack.Add(value);
    }

    private void Mark()
    {
        if (_marks.Count == MaxStack)
        {
            throw input.Refuse($"more than {MaxStack} marks are open");
        }

        _marks.Add(_stack.Count);
    }

    private object? Peek() =>
        _stack.Count > Floor ? _stack[^1] : throw input.Refuse("a value is taken from an empty stack");

    private object? Pop() => PopMany(1)[0];

    private int Floor => _marks.Count > 0 ? _marks[^1] : 0;

    private object?[] PopMany(int count)
    {
        if (_stack.Count - count < Floor)
        {
            throw input.Refuse($"{count} values are taken from a stack of {_stack.Count - Floor}");
        }

        var items = new object?[count];
        _stack.CopyTo(_stack.Count - count, items, 0, count);
        _stack.RemoveRange(_stack.Count - count, count);
        return items;
    }

    private object?[] PopToMark()
    {
        if (_marks.Count == 0)
        {
            throw input.Refuse("a mark is popped but none is set");
        }

        var items = PopMany(_stack.Count - Floor);
        _marks.RemoveAt(_marks.Count - 1);
        return items;
    }

    private void PushFilled(object container)
    {
        var items = PopToMark();
        Push(container);
        Extend(items);
    }

    /// <summary>Adds items, or alternating keys and values, to the list or dict on top of the stack.</summary>
    private void Extend(object?[] items)
    {
        switch (Peek())
        {
            case PickleList list:
                list.Items.AddRange(items);
                break;
            case PickleDict dict when items.Length % 2 == 0:
                for (var i = 0; i < items.Length; i += 2)
                {
                    dict.Pairs.Add(new(items[i], items[i + 1]));
                }

                break;
            default:
                throw input.Refuse($"{items.Length} items are added to something that cannot take them");
        }
    }

    private void Store(long index)
    {
        if (_memo.Count == MaxMemo)
        {
            throw input.Refuse($"the memo has more than {MaxMemo} entries");
        }

        _memo[index] = Peek();
    }

    private object? Recall(long index) =>
        _memo.TryGetValue(index, out var value) ? value : throw input.Refuse($"memo entry {index} does not exist");

    private void StackGlobal()
    {
        var names = PopMany(2);
        Push(names is [string module, string name]
            ? TorchObjects.Find(input, module, name)
            : throw input.Refuse("the name of a global is not a string"));
    }

    private void Reduce()
    {
        Push(PopMany(2) is [TorchGlobal function, PickleTuple arguments]
            ? TorchObjects.Reduce(input, function, arguments.Items)
            : throw input.Refuse("something other than a known global is called"));
    }

    // State for a dict or an inert value, such as "_metadata" of a state dict, is dropped.
    private void Build()
    {
        Pop();
        if (Peek() is not (PickleDict or PickleInert))
        {
            throw input.Refuse("a state is set on something without a state");
        }
    }
}
